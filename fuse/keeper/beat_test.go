package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/kept"
	"github.com/truesize/truesize/pkg/procfs"
	"golang.org/x/sys/unix"
)

// testBeater returns a beater of a server that started then, with the lock's
// path. The lock is held.
func testBeater(t *testing.T, started time.Time) (*beater, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lock")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	m, err := kept.Create()
	if err != nil {
		t.Fatal(err)
	}
	return &beater{lock: fd, started: started, memory: m}, path
}

func TestAtWork(t *testing.T) {
	began := time.Unix(1234567890, 123456789)
	b, path := testBeater(t, began)
	if _, ok := AtWork(path); ok {
		t.Error("before the first beat")
	}
	before := b.memory.Heartbeat()
	b.beat()
	if got, ok := AtWork(path); !ok || !got.Equal(began) {
		t.Errorf("%v, %v: want %v", got, ok, began)
	}
	if n := b.memory.Heartbeat() - before; n != 1 {
		t.Errorf("%d beats", n)
	}
	if _, ok := AtWork(path + "x"); ok {
		t.Error("without a file")
	}
	if err := unix.Flock(b.lock, unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if _, ok := AtWork(path); ok {
		t.Error("without the lock")
	}
}

// A server that is at one request from beat to beat is not said to be at work,
// and its heart beats on: the keeper has the last word.
func TestBeatOfAStuckServer(t *testing.T) {
	b, path := testBeater(t, time.Now())
	slot := b.memory.Slot(3)
	slot[0], slot[8] = 48, 7 // its length and its number
	b.beat()
	if _, ok := AtWork(path); !ok {
		t.Error("at a request, and not at work")
	}
	if err := unix.Ftruncate(b.lock, 0); err != nil {
		t.Fatal(err)
	}
	before := b.memory.Heartbeat()
	b.beat()
	if _, ok := AtWork(path); ok || b.memory.Heartbeat() == before {
		t.Errorf("at the same request: at work %v, %d beats", ok, b.memory.Heartbeat()-before)
	}
	slot[8] = 8
	b.beat()
	if _, ok := AtWork(path); !ok {
		t.Error("at another request, and not at work")
	}
}

func TestBeatIsFreshAndWhole(t *testing.T) {
	_, path := testBeater(t, time.Now())
	now := procfs.SinceBoot()
	for _, c := range []struct {
		line string
		ok   bool
	}{
		{fmt.Sprintf(beatFormat, 5, now), true},
		{fmt.Sprintf(beatFormat, 5, now-stale), false},
		{fmt.Sprintf(beatFormat, 5, now+time.Hour), false},
		{fmt.Sprintf("%d %d", 5, now), false}, // cut off
		{fmt.Sprintf("x %d\n", now), false},
		{"5\n", false},
		{"", false},
	} {
		if err := os.WriteFile(path, []byte(c.line), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := AtWork(path); ok != c.ok {
			t.Errorf("%q: %v", c.line, ok)
		}
	}
	if n := len(fmt.Sprintf(beatFormat, time.Now().UnixNano(), now)); n != len(fmt.Sprintf(beatFormat, 1, 1)) {
		t.Errorf("lines differ in length: %d", n) // one is written over the other
	}
}
