package fuse

import (
	"bytes"
	"context"
	"testing"
	"time"
	"unsafe"

	"github.com/truesize/truesize/fuse/kept"
	"golang.org/x/sys/unix"
)

// A server takes over the connection of one that died while it worked at a
// request: inodes that the kernel knows go on, the request is answered, and
// the READ of a snapshot gets that snapshot.
func TestSuccessor(t *testing.T) {
	memory, err := kept.Create()
	if err != nil {
		t.Fatal(err)
	}
	first := newServer(t, File{Path: "proc/stat", Freshness: time.Millisecond})
	first.opts.Kept = memory
	dir := t.TempDir()
	fd, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	defer Detach(dir)
	put(t, first, "c1", newLines(20))
	if _, err := first.begin(); err != nil {
		t.Fatal(err)
	}
	cmd := reader(t, "whole", dir+"/c1/proc/stat")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The first answers by hand, up to the reader's first READ, which it takes
	// and leaves in its slot.
	slot, out := memory.Slot(1), aligned(outSize)
	for {
		slot.Clear()
		n, err := unix.Read(fd, slot)
		if err != nil {
			t.Fatal(err)
		}
		if *(*uint32)(unsafe.Pointer(&slot[4])) == opRead {
			break
		}
		first.answer(fd, memory, slot[:n], out)
	}
	seen, mtime, ok := first.snapshots.Load(nodeIDOf(t, first, "c1", "proc/stat"))
	if !ok {
		t.Fatal("the snapshot of the GETATTR is not kept")
	}
	second := newServer(t, File{Path: "proc/new"}, File{Path: "proc/stat", Freshness: time.Millisecond})
	second.opts.Kept = memory
	put(t, second, "c1", newLines(20))
	if _, err := second.begin(); err != nil {
		t.Fatal(err)
	}
	n := second.lookupFile(t, "c1", "proc/stat")
	if !bytes.Equal(n.data, seen) || n.mtime != mtime {
		t.Errorf("the successor begins with %.20q of %d, readers saw %.20q of %d", n.data, n.mtime, seen, mtime)
	}
	ended := make(chan error, 1)
	go func() { ended <- second.Serve(context.Background(), fd) }()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if memory.Counted(kept.Reanswered) != 1 {
		t.Errorf("%d requests answered again, want 1", memory.Counted(kept.Reanswered))
	}
	if r := runReader(t, "whole", dir+"/c1/proc/stat", dir+"/c1/proc/new"); !r.clean() {
		t.Error(r)
	}
	n.mu.Lock()
	now := n.mtime
	n.mu.Unlock()
	if now < mtime {
		t.Errorf("mtime went from %d to %d", mtime, now)
	}
	if err := Detach(dir); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	memory.SaveInit([]byte("no INIT"))
	if err := second.Serve(context.Background(), fd); err == nil {
		t.Error("served without an INIT message")
	}
}

func (s *Server) lookupFile(t *testing.T, id, path string) *node {
	t.Helper()
	hash, _ := containerHash(id)
	_, n, _ := s.lookupNode(nodeID(hash, pathIndex(path)))
	if n == nil {
		t.Fatalf("no %s of %s", path, id)
	}
	return n
}

func nodeIDOf(t *testing.T, s *Server, id, path string) uint64 { return s.lookupFile(t, id, path).id }

func TestServeEndsWithContext(t *testing.T) {
	s := newServer(t, File{Path: "a"})
	dir := t.TempDir()
	fd, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	defer Detach(dir)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, fd) }()
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("got %v", err)
	}
}
