package viewd

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testView makes a run directory with the files of a view.
func testView(t *testing.T, files ...string) *Client {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, "view", f)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("v1.2.3 go1 linux/amd64\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return NewClient(dir)
}

func TestVersion(t *testing.T) {
	v, err := testView(t, ".truesize/version").Version(t.Context())
	if err != nil || v != "v1.2.3 go1 linux/amd64" {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := testView(t).Version(t.Context()); !errors.Is(err, ErrSilent) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no view: %v", err)
	}
}

// A view that hangs is silent, and costs no more than a few threads however
// often it is asked.
func TestHangingView(t *testing.T) {
	c := testView(t)
	c.checkWithin, c.versionWithin = 20*time.Millisecond, 20*time.Millisecond
	dir := filepath.Join(c.Dir(), ".truesize")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Opening a FIFO nobody writes to hangs like a FUSE server that is stuck.
	fifo := filepath.Join(dir, "version")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for range maxStuck {
		if _, err := c.Version(t.Context()); !errors.Is(err, ErrSilent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hanging: %v", err)
		}
	}
	if _, err := c.Version(t.Context()); !errors.Is(err, ErrSilent) || !strings.Contains(err.Error(), "hang") {
		t.Errorf("while others hang: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Check(ctx, "id", nil); !errors.Is(err, ErrSilent) {
		t.Errorf("at the end: %v", err)
	}
	// The server comes back: every question ends, and new ones are answered.
	release(t, fifo)
	for range cap(c.questions.places) {
		c.questions.places <- struct{}{} // all are over
	}
	if n := c.questions.hanging(); n != 0 {
		t.Errorf("%d still hang", n)
	}
}

// Where no container waits, a view that answers later than one would wait for
// is not silent: a server that stands still is replaced in that time.
func TestLateView(t *testing.T) {
	c := testView(t)
	c.checkWithin = time.Millisecond
	dir := filepath.Join(c.Dir(), ".truesize")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "version")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error)
	go func() {
		_, err := c.Version(t.Context())
		answer <- err
	}()
	time.Sleep(50 * c.checkWithin)
	release(t, fifo)
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

// release lets everybody who opens a FIFO, now or meanwhile, go on.
func release(t *testing.T, fifo string) {
	t.Helper()
	f, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Readers see the end of the file when the last writer has gone. One that
	// has not opened it by then would hang, so keep it until they have.
	time.AfterFunc(200*time.Millisecond, func() { f.Close() })
}

func TestDump(t *testing.T) {
	c := testView(t)
	if _, err := c.Dump(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
	l, err := net.Listen("unix", filepath.Join(c.runDir, "viewd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := make(chan string)
	go func() {
		for a := range answers {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(a)) // the client may have had enough
			if a != "" {
				conn.Close()
			}
		}
	}()
	answers <- "counters\n"
	if data, err := c.Dump(t.Context()); err != nil || string(data) != "counters\n" {
		t.Errorf("%q, %v", data, err)
	}
	answers <- strings.Repeat("x", maxDump+1)
	if _, err := c.Dump(t.Context()); err == nil || !strings.Contains(err.Error(), "over") {
		t.Errorf("endless: %v", err)
	}
	answers <- "" // and hangs
	close(answers)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Dump(ctx); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("hanging: %v", err)
	}
}
