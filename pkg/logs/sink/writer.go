package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// queueMax bounds what a Writer holds, in bytes.
const queueMax = 4 << 20

// A Writer is a sink that writes records as lines: to standard output, or to a
// file. A record is delivered when it was written (of a file: synced).
type Writer struct {
	out   io.Writer
	path  string // of a file
	max   int64
	file  *os.File
	wake  chan struct{}
	work  chan struct{}
	mu    sync.Mutex
	queue []*Chunk
	stats Stats
}

// NewWriter returns a sink that writes to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{
		out: w, wake: make(chan struct{}, 1), work: make(chan struct{}, 1),
		stats: Stats{Errors: map[string]uint64{}, DeadLetters: map[string]uint64{}},
	}
}

// NewFile returns a sink that writes to a file, which at maxBytes is renamed
// with ".1" behind its name.
func NewFile(path string, maxBytes int64) *Writer {
	w := NewWriter(nil)
	w.path, w.max = path, maxBytes
	return w
}

var _ Sink = (*Writer)(nil)

// Ready implements [Sink].
func (w *Writer) Ready(string, []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats.Buffered < queueMax
}

// Send implements [Sink].
func (w *Writer) Send(c *Chunk) {
	w.mu.Lock()
	w.queue = append(w.queue, c)
	w.stats.Buffered += int64(len(c.Buf))
	w.mu.Unlock()
	poke(w.work)
}

// Wake implements [Sink].
func (w *Writer) Wake() <-chan struct{} { return w.wake }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run implements [Sink].
func (w *Writer) Run(ctx, drain context.Context) error {
	defer func() {
		if w.file != nil {
			w.file.Close()
		}
	}()
	var buf []byte
	for {
		c := w.first()
		if c == nil {
			if ctx.Err() != nil {
				return nil
			}
			select {
			case <-ctx.Done():
			case <-w.work:
			}
			continue
		}
		buf = appendLines(buf[:0], c)
		if err := w.write(buf); err != nil {
			w.failed(err)
			select {
			case <-drain.Done():
				return nil
			case <-time.After(time.Second):
			}
			continue
		}
		w.delivered(c)
	}
}

func (w *Writer) first() *Chunk {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil
	}
	return w.queue[0]
}

func (w *Writer) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Errors["write"]++
	w.stats.LastError = err.Error()
}

func (w *Writer) delivered(c *Chunk) {
	w.mu.Lock()
	w.queue = w.queue[1:]
	w.stats.Buffered -= int64(len(c.Buf))
	w.stats.Records += uint64(len(c.Records))
	w.stats.Bytes += uint64(len(c.Buf))
	w.stats.LastError = ""
	w.mu.Unlock()
	c.Done(c)
	poke(w.wake)
}

func appendLines(dst []byte, c *Chunk) []byte {
	for i := range c.Records {
		dst = append(append(dst, c.Value(i)...), '\n')
	}
	return dst
}

func (w *Writer) write(b []byte) error {
	if w.path == "" {
		_, err := w.out.Write(b)
		return err
	}
	if w.file == nil {
		f, err := openLines(w.path, (*os.File).Sync)
		if err != nil {
			return fmt.Errorf("open the sink's file: %w", err)
		}
		w.file = f
	}
	st, err := w.file.Stat()
	if err != nil {
		return fmt.Errorf("write to the sink's file: %w", err)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Nlink == 0 { // somebody has removed it
		w.file.Close()
		w.file = nil
		return w.write(b)
	}
	if st.Size() > 0 && st.Size()+int64(len(b)) > w.max {
		if err := errors.Join(os.Rename(w.path, w.path+".1"), w.file.Close()); err != nil {
			w.file = nil
			return fmt.Errorf("rotate the sink's file: %w", err)
		}
		w.file = nil
		return w.write(b)
	}
	if _, err := w.file.Write(b); err != nil {
		_ = w.file.Truncate(st.Size()) // a line is whole or absent
		return fmt.Errorf("write to the sink's file: %w", err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync the sink's file: %w", err)
	}
	return nil
}

// Stats implements [Sink].
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Errors = map[string]uint64{}
	for k, v := range w.stats.Errors {
		s.Errors[k] = v
	}
	return s
}
