package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// A writer writes a container's log as the runtime does.
type writer struct {
	t     testing.TB
	dir   string
	name  string // in the numbered lines
	mu    sync.Mutex
	f     *os.File
	n     [2]int // lines written to stdout and stderr
	buf   []byte // of block
	left  []byte // of the last block
	text  []byte // of appendLine
	total int64  // bytes
	at    int    // rotations
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
	w.f = f
}

var filler = strings.Repeat("abcdefghijklmnopqrstuvwxyz 0123456789 ", 40)

// lines writes n numbered lines of about width bytes, every seventh to stderr,
// every eleventh in two parts. A part may end up in the next file.
func (w *writer) lines(n, width int) {
	for range n {
		w.mu.Lock()
		line, half := w.appendLine(nil, time.Now(), width)
		if half > 0 {
			w.write(line[:half])
			w.mu.Unlock()
			w.mu.Lock()
		}
		w.write(line[half:])
		w.mu.Unlock()
	}
}

// block writes n lines as lines does, and what an earlier block has left, with
// one system call. A second part at the block's end is left for the next one.
func (w *writer) block(n, width int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	b := append(w.buf[:0], w.left...)
	end := 0
	for range n {
		b, end = w.appendLine(b, now, width)
	}
	if end == 0 {
		end = len(b)
	}
	w.buf, w.left = b, append(w.left[:0], b[end:]...)
	w.write(b[:end])
}

// endBlocks writes what the last block has left.
func (w *writer) endBlocks() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(w.left)
	w.left = nil
}

// appendLine appends the next numbered line in CRI format and returns where
// its second part begins, 0 when it has none.
func (w *writer) appendLine(b []byte, now time.Time, width int) (line []byte, half int) {
	at, name := 0, "stdout"
	if (w.n[0]+w.n[1])%7 == 6 {
		at, name = 1, "stderr"
	}
	w.text = fmt.Appendf(w.text[:0], "#%s %s %d# %s", w.name, name, w.n[at], filler[:width])
	w.n[at]++
	part := func(tag, text []byte) {
		b = now.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(append(append(b, ' '), name...), tag...)
		b = append(append(b, text...), '\n')
	}
	text := w.text
	if (w.n[0]+w.n[1])%11 == 0 {
		part([]byte(" P "), text[:len(text)/2])
		half, text = len(b), text[len(text)/2:]
	}
	part([]byte(" F "), text)
	return b, half
}

func (w *writer) write(b []byte) {
	n, err := w.f.Write(b)
	if err != nil {
		w.t.Error(err)
	}
	w.total += int64(n)
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

// compress makes path.gz of path, as the kubelet does: through a temporary
// file. It does so at low priority, for what the test is about is others' work.
func (w *writer) compress(path string) {
	out, err := os.Create(path + ".tmp")
	if err != nil {
		w.t.Error(err)
		return
	}
	defer out.Close()
	cmd := exec.Command("nice", "-n", "19", "gzip", "-1", "-c", path)
	cmd.Stdout = out
	if err := errors.Join(cmd.Run(), os.Rename(path+".tmp", path+".gz"), os.Remove(path)); err != nil {
		w.t.Error(err)
	}
}
