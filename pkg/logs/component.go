package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/truesize/truesize/pkg/logs/checkpoint"
	"github.com/truesize/truesize/pkg/logs/kafka"
	"github.com/truesize/truesize/pkg/logs/sink"
	"github.com/truesize/truesize/pkg/logs/source"
)

// drainTime is how long a stopping component waits for acknowledgements. What
// is not acknowledged by then is read again after the next start.
const drainTime = 5 * time.Second

// firstSave is when the first checkpoint is written after the start.
const firstSave = 200 * time.Millisecond

// Options are what a component gets from the program it is part of.
type Options struct {
	// StateDir is the agent's state directory: the checkpoint is in its logs/.
	StateDir string
	// RunDir is where the socket logs.sock answers each connection with the
	// status in JSON; empty is nowhere.
	RunDir string
	// Metadata tells what the runtime knows; nil is nothing.
	Metadata Metadata
	Log      *slog.Logger
	// Stdout is where the sink stdout writes; os.Stdout by default.
	Stdout io.Writer
	// Sink replaces the configured one.
	Sink sink.Sink
	// Only chooses containers; nil is all of them.
	Only func(Ref) bool
}

// A Component forwards a node's container logs.
type Component struct {
	loop *loop
	sink sink.Sink
	opts Options
	// hints asks the kernel for hints of changes: newWatcher.
	hints func() (*watcher, error)
}

// New checks a configuration and returns a component that is ready to Run.
func New(cfg Config, opts Options) (*Component, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults(opts.StateDir)
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Stdout == nil {
		opts.Stdout = os.Stdout
	}
	budget := int64(cfg.Memory) / 4 // the other memory grows with it: batches, requests, the collector's share
	out := opts.Sink
	if out == nil {
		var err error
		if out, err = newSink(&cfg, opts, budget); err != nil {
			return nil, err
		}
	}
	store, err := checkpoint.Open(filepath.Join(opts.StateDir, "logs", "checkpoint"))
	if err != nil {
		return nil, err
	}
	l := newLoop(cfg, opts, out, budget)
	l.store = store
	return &Component{loop: l, sink: out, opts: opts, hints: newWatcher}, nil
}

// newLoop returns a loop for a valid configuration with its defaults.
func newLoop(cfg Config, opts Options, out sink.Sink, budget int64) *loop {
	l := &loop{
		cfg: cfg, log: opts.Log, metadata: opts.Metadata, only: opts.Only, sink: out, formats: cfg.formats(),
		dirs: map[int32]*dir{}, quiet: map[int32]*chain{}, limits: map[string]*limiter{},
		buf: make([]byte, quantum), budget: budget,
		acks: acks{notify: make(chan struct{}, 1)}, asks: make(chan func()),
	}
	if r := cfg.Topics.Annotation; r != "" && r != "-" {
		l.topicRule = regexp.MustCompile(r) // Validate accepted it
	}
	for _, s := range cfg.Sources {
		l.roots = append(l.roots, &root{
			kind: source.Kind(s.Kind), path: filepath.Clean(s.Root), links: s.Links,
			inner: map[string]*dir{}, logs: map[string]*dir{},
		})
	}
	return l
}

func newSink(cfg *Config, opts Options, budget int64) (sink.Sink, error) {
	switch cfg.Sink {
	case "stdout":
		return sink.NewWriter(opts.Stdout), nil
	case "file":
		return sink.NewFile(cfg.File.Path, int64(cfg.File.MaxBytes)), nil
	}
	letters := sink.NewDeadLetterFile(cfg.DeadLetterFile, int64(cfg.DeadLetterBytes))
	p, err := kafka.New(cfg.Kafka, int(budget), letters, opts.Log)
	if err != nil {
		return nil, fmt.Errorf("logs.kafka: %w", err)
	}
	return p, nil
}

// Run forwards logs until ctx is done. It returns an error only when it cannot
// go on at all: a sink that is away, a full disk or an unreadable file do not
// end it.
func (c *Component) Run(ctx context.Context) error {
	l := c.loop
	if err := l.restore(); err != nil {
		return err
	}
	w, err := c.hints()
	if err != nil {
		l.log.Warn("logs: no hints of changes from the kernel, directories are looked at every 200 ms", "error", err)
	} else {
		l.watcher = w
		defer w.close()
	}
	defer l.closeFiles()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.opts.RunDir != "" {
		stop, err := c.serveStatus(filepath.Join(c.opts.RunDir, "logs.sock"))
		if err != nil {
			return err
		}
		defer stop()
	}
	sinkCtx, stopSink := context.WithCancel(context.Background())
	defer stopSink()
	drainCtx, stopDrain := context.WithCancel(context.Background())
	defer stopDrain()
	drained := make(chan struct{})
	var sinkErr error
	go func() {
		defer close(drained)
		sinkErr = c.sink.Run(sinkCtx, drainCtx)
		cancel()
	}()
	err = l.run(ctx, func() {
		stopSink()
		time.AfterFunc(drainTime, stopDrain)
	}, drained)
	return errors.Join(sinkErr, err)
}

// restore reads the checkpoint.
func (l *loop) restore() error {
	l.now = time.Now()
	// The first progress is written soon: a process that keeps crashing must
	// come forward.
	l.saved = l.now.Add(firstSave - time.Duration(l.cfg.Checkpoint))
	l.restored, l.restoredMeta = map[string]map[string]checkpoint.File{}, map[string]Meta{}
	state, err := l.store.Load(l.now)
	switch {
	case errors.Is(err, checkpoint.ErrDamaged):
		l.totals.damaged = true
		l.log.Error("logs: the checkpoint is damaged: files it says nothing usable of are read from their beginning, so lines come twice", "error", err, "files", len(state.Files))
	case err != nil:
		return err
	}
	l.first = err == nil && len(state.Files) == 0
	for _, f := range state.Files {
		if !cleanID(f.ID) {
			continue
		}
		if l.restored[f.Dir] == nil {
			l.restored[f.Dir] = map[string]checkpoint.File{}
		}
		l.restored[f.Dir][f.ID] = f
	}
	for _, c := range state.Containers {
		var m Meta
		if json.Unmarshal(c.Meta, &m) == nil {
			l.restoredMeta[c.Dir] = m
		}
	}
	return nil
}

func (l *loop) closeFiles() {
	for _, r := range l.roots {
		for _, d := range r.logs {
			for _, c := range d.chains {
				for _, f := range c.files {
					f.close()
				}
			}
		}
	}
}
