package e2e

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// A writer writes a container's log as the runtime does.
type writer struct {
	t    testing.TB
	dir  string
	name string // in the numbered lines
	mu   sync.Mutex
	f    *os.File
	n    [2]int // lines written to stdout and stderr
	size int64
	at   int // rotations
}

// newWriter makes the log directory of a container of a pod.
func newWriter(t testing.TB, root, pod, container string) *writer {
	w := &writer{t: t, dir: filepath.Join(root, "ns_"+pod+"_uid-"+pod, container), name: pod + "/" + container}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.open()
	return w
}

func (w *writer) path() string { return filepath.Join(w.dir, "0.log") }

func (w *writer) open() {
	f, err := os.OpenFile(w.path(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		w.t.Error(err)
		return
	}
	if w.f != nil {
		w.f.Close()
	}
	w.f, w.size = f, 0
}

var filler = strings.Repeat("abcdefghijklmnopqrstuvwxyz 0123456789 ", 40)

// lines writes n numbered lines of about width bytes, every seventh to stderr,
// every eleventh in two parts. A part may end up in the next file.
func (w *writer) lines(n, width int) {
	for range n {
		w.mu.Lock()
		stream, name := 0, "stdout"
		if (w.n[0]+w.n[1])%7 == 6 {
			stream, name = 1, "stderr"
		}
		text := fmt.Sprintf("#%s %s %d# %s", w.name, name, w.n[stream], filler[:width])
		w.n[stream]++
		now := time.Now().UTC().Format(time.RFC3339Nano)
		if (w.n[0]+w.n[1])%11 == 0 {
			half := len(text) / 2
			w.write(fmt.Appendf(nil, "%s %s P %s\n", now, name, text[:half]))
			w.mu.Unlock()
			w.mu.Lock()
			text = text[half:]
		}
		w.write(fmt.Appendf(nil, "%s %s F %s\n", now, name, text))
		w.mu.Unlock()
	}
}

func (w *writer) write(b []byte) {
	n, err := w.f.Write(b)
	if err != nil {
		w.t.Error(err)
	}
	w.size += int64(n)
}

func (w *writer) close() { w.f.Close() }

// rotate does what the kubelet's container log manager does: remove the
// excess, compress what was rotated before, rename, have the runtime reopen.
func (w *writer) rotate(keep int) {
	rotated := w.rotated()
	for len(rotated) > keep-2 {
		if err := os.Remove(rotated[0]); err != nil {
			w.t.Error(err)
		}
		rotated = rotated[1:]
	}
	for _, p := range rotated {
		if !strings.HasSuffix(p, ".gz") {
			w.compress(p)
		}
	}
	w.at++
	name := w.path() + "." + time.Now().UTC().Format("20060102-150405") + fmt.Sprintf(".%06d", w.at)
	if err := os.Rename(w.path(), name); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	w.open()
	w.mu.Unlock()
}

// rotated returns the rotated files, the oldest first.
func (w *writer) rotated() []string {
	list, err := filepath.Glob(w.path() + ".*")
	if err != nil {
		w.t.Error(err)
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		return a[strings.LastIndexByte(strings.TrimSuffix(a, ".gz"), '.'):] < b[strings.LastIndexByte(strings.TrimSuffix(b, ".gz"), '.'):]
	})
	return list
}

func (w *writer) compress(path string) {
	err := func() error {
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.Create(path + ".tmp")
		if err != nil {
			return err
		}
		defer out.Close()
		z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
		if err != nil {
			return err
		}
		_, err = io.Copy(z, in)
		return errors.Join(err, z.Close(), os.Rename(path+".tmp", path+".gz"), os.Remove(path))
	}()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Error(err)
	}
}
