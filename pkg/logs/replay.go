package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/logs/sink"
	"github.com/truesize/truesize/pkg/logs/source"
)

// A Replayed is a record as it would be sent.
type Replayed struct {
	Topic, Key, Position string
	Value                []byte // valid until the callback returns
}

// Replay reads one log file, compressed or not, as a component with that
// configuration would, and calls each with every record. It sends nothing and
// keeps no progress. Of what the runtime knows it has only what meta says.
func Replay(cfg Config, path string, meta Metadata, each func(Replayed) error) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	out := &replaySink{each: each}
	l := newLoop(cfg.withDefaults(os.TempDir()), Options{Log: slog.New(slog.DiscardHandler), Metadata: meta}, out, 1<<40)
	c, f, err := l.replayChain(path, file)
	if err != nil {
		return err
	}
	for out.err == nil {
		n, err := f.src.ReadAt(l.buf, f.read)
		before := f.read
		c.consume(f, l.buf[:n], n == len(l.buf), n < len(l.buf))
		c.flush()
		l.takeAcks()
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if f.read == before {
			break
		}
	}
	c.joiner.Flush()
	c.sayDropped()
	c.flush()
	return out.err
}

// replayChain sets up a chain with one file, without a tree around it.
func (l *loop) replayChain(path string, src *os.File) (*chain, *file, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &st); err != nil {
		return nil, nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, nil, &os.PathError{Op: "replay", Path: path, Err: errNotRegular}
	}
	kind, rel := kindOf(path)
	ref, _ := kind.ParseDir(rel)
	as, ok := kind.ParseName(filepath.Base(path))
	if !ok {
		as = source.Name{Base: filepath.Base(path)}
	}
	ref.Restart = as.Restart()
	if kind == source.Files {
		ref.Container = as.Base
	}
	d := &dir{kind: kind, path: filepath.Dir(path), rel: rel, byID: map[string]*file{}, chains: map[string]*chain{}, files: map[inode]*file{}, listing: 1, seen: true}
	f := &file{num: 1, as: as, name: filepath.Base(path), present: true, midStart: -1, size: st.Size, src: plainContent{src}, firstSeen: filepath.Join(rel, filepath.Base(path))}
	c := &chain{loop: l, dir: d, ref: ref, base: as.Base, files: []*file{f}}
	f.chain = c
	if !l.configure(c) {
		return nil, nil, fmt.Errorf("%s: the pod's annotation %s says that its logs are not sent", path, AnnotationLogs)
	}
	if isGzip(src) {
		f.src, f.gzip = &gzipContent{f: src}, true
	}
	head, _, err := readHead(f.src)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	l.bind(f, head)
	return c, f, nil
}

// kindOf guesses the layout that a path is part of.
func kindOf(path string) (source.Kind, string) {
	dir := filepath.Dir(path)
	rel := filepath.Join(filepath.Base(filepath.Dir(dir)), filepath.Base(dir))
	if _, ok := source.Pods.ParseDir(rel); ok {
		if _, ok := source.Pods.ParseName(filepath.Base(path)); ok {
			return source.Pods, rel
		}
	}
	if id := filepath.Base(dir); len(id) == 64 {
		return source.Docker, id
	}
	return source.Files, ""
}

// replaySink hands records to a callback.
type replaySink struct {
	each func(Replayed) error
	err  error
}

func (s *replaySink) Ready(string, []byte) bool                  { return true }
func (s *replaySink) Wake() <-chan struct{}                      { return nil }
func (s *replaySink) Stats() sink.Stats                          { return sink.Stats{} }
func (s *replaySink) Run(context.Context, context.Context) error { return nil }

func (s *replaySink) Send(c *sink.Chunk) {
	for i := range c.Records {
		if s.err != nil {
			break
		}
		s.err = s.each(Replayed{c.Topic, string(c.Key), string(c.AppendPosition(nil, i)), c.Value(i)})
	}
	c.Done(c)
}
