package fuse

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"github.com/truesize/truesize/fuse/kept"
)

// newFallback returns one with a snapshot of c1's proc/stat.
func newFallback(t testing.TB) (*Fallback, *kept.Memory) {
	t.Helper()
	memory, err := kept.Create()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := NewTree([]File{{Path: "proc/stat", Freshness: time.Second}, {Path: "proc/uptime", Freshness: time.Second}, {Path: "proc/none"}})
	if err != nil {
		t.Fatal(err)
	}
	node, _ := NodeID("c1", "proc/stat")
	memory.Snapshots().Store(node, []byte("cpu 1 2 3\n"), 4242)
	f, err := NewFallback(FallbackOptions{
		Tree: tree, Kept: memory, Known: func(id string) bool { return id == "c1" },
		HostFile: func(path string) ([]byte, error) {
			if path == "proc/uptime" {
				return []byte("1.00 2.00\n"), nil
			}
			return nil, os.ErrNotExist
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, memory
}

// ask sends a request and returns the reply's body.
func (f *Fallback) ask(t *testing.T, opcode uint32, node uint64, body []byte) ([]byte, error) {
	t.Helper()
	in, out := aligned(inSize), aligned(BufferSize)
	h := (*gofuse.InHeader)(unsafe.Pointer(&in[0]))
	*h = gofuse.InHeader{Length: uint32(headerIn + len(body)), Opcode: opcode, Unique: 7, NodeId: node}
	copy(in[headerIn:], body)
	n := f.Answer(in[:headerIn+len(body)], out)
	if n == 0 {
		return nil, nil
	}
	reply := (*gofuse.OutHeader)(unsafe.Pointer(&out[0]))
	if int(reply.Length) != n || reply.Unique != 7 {
		t.Fatalf("opcode %d: reply of %d bytes says %d, to %d", opcode, n, reply.Length, reply.Unique)
	}
	if reply.Status != 0 {
		return nil, syscall.Errno(-reply.Status)
	}
	return out[headerOut:n], nil
}

// walk looks a path up, name by name.
func (f *Fallback) walk(t *testing.T, names ...string) (gofuse.EntryOut, error) {
	t.Helper()
	node, out := uint64(rootID), gofuse.EntryOut{}
	for _, name := range names {
		body, err := f.ask(t, opLookup, node, append([]byte(name), 0))
		if err != nil {
			return out, err
		}
		out = *(*gofuse.EntryOut)(unsafe.Pointer(&body[0]))
		node = out.NodeId
	}
	return out, nil
}

func (f *Fallback) reads(t *testing.T, node uint64) (string, error) {
	t.Helper()
	in := gofuse.ReadIn{Size: 4096, Flags: syscall.O_DIRECT}
	body, err := f.ask(t, opRead, node, unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in))[headerIn:])
	return string(body), err
}

func TestFallback(t *testing.T) {
	f, memory := newFallback(t)
	e, err := f.walk(t, "c1", "proc", "stat")
	want, _ := NodeID("c1", "proc/stat")
	if err != nil || e.NodeId != want || e.Attr.Size != 10 || e.Attr.Mtimensec != 4242 || e.Attr.Mode != syscall.S_IFREG|0o444 {
		t.Errorf("snapshot: %+v, %v", e, err)
	}
	if got, err := f.reads(t, e.NodeId); err != nil || got != "cpu 1 2 3\n" {
		t.Errorf("snapshot reads %q, %v", got, err)
	}
	if n := memory.Counted(kept.HostFiles); n != 0 {
		t.Errorf("%d files of the host", n)
	}
	e, err = f.walk(t, "c1", "proc", "uptime")
	if err != nil || e.Attr.Size != 10 {
		t.Errorf("the host's file: %+v, %v", e, err)
	}
	if got, err := f.reads(t, e.NodeId); err != nil || got != "1.00 2.00\n" {
		t.Errorf("the host's file reads %q, %v", got, err)
	}
	if n := memory.Counted(kept.HostFiles); n != 1 {
		t.Errorf("%d files of the host counted, want 1", n)
	}
	for _, names := range [][]string{{"c2"}, {"c1", "nothing"}, {"c1", "proc", "stat", "x"}, {".truesize", "version"}, {""}} {
		if _, err := f.walk(t, names...); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("%q: %v", names, err)
		}
	}
	if _, err := f.walk(t, "c1", "proc", "none"); !errors.Is(err, syscall.EIO) {
		t.Errorf("a file that nobody has: %v", err)
	}
	if _, err := f.reads(t, 1234567<<16|99); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("a node that is none: %v", err)
	}
	if _, err := f.ask(t, 14, want, make([]byte, 8)); !errors.Is(err, syscall.ENOSYS) { // OPEN
		t.Errorf("OPEN: %v", err)
	}
	if memory.Counted(kept.Degraded) == 0 {
		t.Error("not counted")
	}
}

// What the kernel, or a damaged slot, holds must not bring the keeper down.
func FuzzFallback(f *testing.F) {
	node, _ := NodeID("c1", "proc/stat")
	for _, op := range []uint32{opLookup, opGetattr, opRead, opReaddir, opInit, opStatfs, opForget, 14, 63, 1 << 31} {
		f.Add(op, node, []byte("proc\x00aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"))
		f.Add(op, uint64(rootID), []byte{})
	}
	b, _ := newFallback(f)
	in, out := aligned(inSize), aligned(BufferSize)
	f.Fuzz(func(t *testing.T, op uint32, node uint64, body []byte) {
		body = body[:min(len(body), 4096)]
		h := (*gofuse.InHeader)(unsafe.Pointer(&in[0]))
		*h = gofuse.InHeader{Length: uint32(headerIn + len(body)), Opcode: op, Unique: 7, NodeId: node}
		copy(in[headerIn:], body)
		if n := b.Answer(in[:headerIn+len(body)], out); n != 0 && n < headerOut || n > len(out) {
			t.Errorf("a reply of %d bytes", n)
		}
	})
}
