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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/logs/sink"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// memSink keeps what it gets. While held it has no room; while silent it takes
// chunks and acknowledges none.
type memSink struct {
	mu      sync.Mutex
	held    bool
	silent  bool
	waiting []*sink.Chunk
	got     []got
	wake    chan struct{}
	stop    chan struct{}
}

type got struct{ topic, key, position, value string }

func newMemSink() *memSink { return &memSink{wake: make(chan struct{}, 1), stop: make(chan struct{})} }

func (m *memSink) Ready(string, []byte) bool { m.mu.Lock(); defer m.mu.Unlock(); return !m.held }
func (m *memSink) Wake() <-chan struct{}     { return m.wake }
func (m *memSink) Stats() sink.Stats         { return sink.Stats{} }
func (m *memSink) Run(ctx, drain context.Context) error {
	<-ctx.Done()
	return nil
}

func (m *memSink) Send(c *sink.Chunk) {
	m.mu.Lock()
	for i := range c.Records {
		m.got = append(m.got, got{c.Topic, string(c.Key), string(c.AppendPosition(nil, i)), string(c.Value(i))})
	}
	if m.silent {
		m.waiting = append(m.waiting, c)
		m.mu.Unlock()
		return
	}
	m.mu.Unlock()
	c.Done(c)
}

func (m *memSink) hold(on bool) {
	m.mu.Lock()
	m.held = on
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *memSink) values() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, g := range m.got {
		out = append(out, g.value)
	}
	return out
}

// A rig runs a component in this process.
type rig struct {
	t      *testing.T
	root   string
	state  string
	cfg    Config
	opts   Options
	out    *memSink
	c      *Component
	cancel context.CancelFunc
	done   chan error
	deaf   bool // without the kernel's hints
}

// newRig prepares a component whose records are the lines as they are.
func newRig(t *testing.T, kind string) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, root: filepath.Join(dir, "logs"), state: filepath.Join(dir, "state"), out: newMemSink()}
	if err := os.Mkdir(r.root, 0o755); err != nil {
		t.Fatal(err)
	}
	r.cfg = Config{Sink: "stdout", Format: "raw", Node: "n1", Sources: []Source{{Kind: kind, Root: r.root}}}
	r.opts = Options{StateDir: r.state, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *rig) start() {
	r.t.Helper()
	r.opts.Sink = r.out
	c, err := New(r.cfg, r.opts)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.deaf {
		c.hints = func() (*watcher, error) { return nil, errors.New("no hints in this test") }
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.c, r.cancel, r.done = c, cancel, make(chan error, 1)
	go func(done chan error) { done <- c.Run(ctx) }(r.done)
}

// stop ends the component in good order.
func (r *rig) stop() {
	r.t.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("run: %v", err)
		}
	case <-time.After(patience):
		r.t.Fatal("does not stop")
	}
}

func (r *rig) path(name string) string { return filepath.Join(r.root, name) }

// write appends lines to a file below the root.
func (r *rig) write(name string, lines ...string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		r.t.Fatal(err)
	}
	f, err := os.OpenFile(r.path(name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Join(lines, "")); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// criClock is the time of the last line that cri made.
var criClock = time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)

// cri makes CRI lines of texts, full and of stdout, each a millisecond later.
func cri(texts ...string) string {
	var b strings.Builder
	for _, s := range texts {
		criClock = criClock.Add(time.Millisecond)
		fmt.Fprintf(&b, "%s stdout F %s\n", criClock.Format(time.RFC3339Nano), s)
	}
	return b.String()
}

func numbers(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint("line ", i))
	}
	return out
}

// want waits until exactly these values have come, in this order.
func (r *rig) want(values ...string) {
	r.t.Helper()
	var have []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if have = r.out.values(); len(have) >= len(values) {
			break
		}
	}
	if !slices.Equal(have, values) {
		r.t.Fatalf("got %d values, want %d\n got %q\nwant %q", len(have), len(values), short(have), short(values))
	}
}

func short(s []string) []string {
	if len(s) > 40 {
		return append(slices.Clone(s[:20]), s[len(s)-20:]...)
	}
	return s
}

// until waits for a condition.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("never happens: %s", what)
		}
	}
}

func (r *rig) status() Status {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := r.c.Status(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// settled waits until all that was read is acknowledged.
func (r *rig) settled() {
	r.t.Helper()
	r.until("no lag", func() bool {
		var lag int64
		for _, c := range r.status().Containers {
			lag += c.LagBytes
		}
		return lag == 0
	})
}

func (r *rig) noLoss() {
	r.t.Helper()
	if s := r.status(); len(s.Lost) != 0 {
		r.t.Errorf("lost %+v", s.Lost)
	}
}

func fields(t *testing.T, value string) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(value), &m); err != nil {
		t.Fatalf("%v: %s", err, value)
	}
	return m
}

func contextWithCancel() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}
