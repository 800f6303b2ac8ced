package fuse

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

func newServer(t testing.TB, files ...File) *Server {
	t.Helper()
	tree, err := NewTree(files)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Tree: tree, Version: "v1", Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request returns a request for node, of body behind its header.
func request(opcode uint32, node uint64, body []byte) []byte {
	in := aligned(headerIn + len(body))
	h := (*gofuse.InHeader)(unsafe.Pointer(&in[0]))
	h.Length, h.Opcode, h.Unique, h.NodeId = uint32(len(in)), opcode, 77, node
	copy(in[headerIn:], body)
	return in
}

func readRequest(node, off uint64, size uint32) []byte {
	body := make([]byte, int(unsafe.Sizeof(gofuse.ReadIn{}))-headerIn)
	binary.NativeEndian.PutUint64(body[8:], off)
	binary.NativeEndian.PutUint32(body[16:], size)
	return request(opRead, node, body)
}

// answer returns the reply to in: its error and what follows the header.
func answer(t testing.TB, s *Server, in []byte) (syscall.Errno, []byte) {
	t.Helper()
	out := aligned(outSize)
	n := s.handle(in, out)
	if n == 0 {
		t.Fatal("no reply")
	}
	h := (*gofuse.OutHeader)(unsafe.Pointer(&out[0]))
	if int(h.Length) != n || h.Unique != 77 {
		t.Fatalf("header %+v of a reply of %d bytes", *h, n)
	}
	return syscall.Errno(-h.Status), out[headerOut:n]
}

func fileID(t testing.TB, id, path string) uint64 {
	t.Helper()
	hash, ok := containerHash(id)
	if !ok {
		t.Fatal(id)
	}
	return nodeID(hash, pathIndex(path))
}

func TestEveryOpcodeIsAnswered(t *testing.T) {
	s := newServer(t, File{Path: "proc/a", Freshness: time.Hour})
	if err := s.Put("c1", &script{data: "x\n"}); err != nil {
		t.Fatal(err)
	}
	node := fileID(t, "c1", "proc/a")
	noReply := []uint32{opForget, opBatchForget}
	for op := range uint32(200) {
		if slices.Contains(noReply, op) {
			if n := s.handle(request(op, node, make([]byte, 200)), aligned(outSize)); n != 0 {
				t.Errorf("opcode %d has a reply", op)
			}
			continue
		}
		for _, size := range []int{0, 8, 24, 200} {
			answer(t, s, request(op, node, make([]byte, size)))
		}
	}
	for op, want := range map[uint32]syscall.Errno{
		14: syscall.ENOSYS, 27: syscall.ENOSYS, 25: syscall.ENOSYS, 34: syscall.ENOSYS,
		16: syscall.EROFS, 35: syscall.EROFS, 4: syscall.EROFS, 10: syscall.EROFS,
		63: syscall.ENOSYS, 4096: syscall.ENOSYS, 1<<32 - 1: syscall.ENOSYS,
	} {
		if got, _ := answer(t, s, request(op, node, nil)); got != want {
			t.Errorf("opcode %d: %v, want %v", op, got, want)
		}
	}
	if n := s.stats.panics.Load(); n != 0 {
		t.Errorf("%d panics", n)
	}
}

func TestStaleNodes(t *testing.T) {
	s := newServer(t, File{Path: "proc/a", Freshness: time.Hour})
	if err := s.Put("c1", &script{data: "x\n"}); err != nil {
		t.Fatal(err)
	}
	file, dir := fileID(t, "c1", "proc/a"), fileID(t, "c1", "proc")
	if errno, _ := answer(t, s, request(opGetattr, file, make([]byte, 16))); errno != 0 {
		t.Fatal(errno)
	}
	hash, _ := containerHash("c1")
	for name, in := range map[string][]byte{
		"an index that is no file": request(opGetattr, nodeID(hash, 5), make([]byte, 16)),
		"another container":        request(opGetattr, file+1<<indexBits, make([]byte, 16)),
		"top":                      request(opGetattr, 9, make([]byte, 16)),
		"all ones":                 request(opGetattr, 1<<64-1, make([]byte, 16)),
		"read":                     readRequest(9, 0, 100),
		"lookup":                   request(opLookup, 9, []byte("x\x00")),
	} {
		if errno, _ := answer(t, s, in); errno != syscall.ESTALE {
			t.Errorf("%s: %v", name, errno)
		}
	}
	if errno, _ := answer(t, s, readRequest(dir, 0, 100)); errno != syscall.EISDIR {
		t.Errorf("read of a directory: %v", errno)
	}
	if errno, _ := answer(t, s, request(opLookup, file, []byte("x\x00"))); errno != syscall.ENOTDIR {
		t.Errorf("look-up below a file: %v", errno)
	}
	s.Remove("c1")
	for _, node := range []uint64{file, dir} {
		if errno, _ := answer(t, s, request(opGetattr, node, make([]byte, 16))); errno != syscall.ESTALE {
			t.Errorf("of a removed container: %v", errno)
		}
	}
	if errno, _ := answer(t, s, readRequest(file, 0, 100)); errno != syscall.ESTALE {
		t.Errorf("read of a removed container: %v", errno)
	}
	if err := s.Put("c1", &script{data: "again\n"}); err != nil {
		t.Fatal(err)
	}
	if errno, _ := answer(t, s, request(opGetattr, file, make([]byte, 16))); errno != 0 {
		t.Errorf("of one that came back: %v", errno)
	}
}

// A server that is new has inodes that the kernel knows the size of: its first
// request may be a READ.
func TestReadBeforeGetattr(t *testing.T) {
	s := newServer(t, File{Path: "a", Freshness: time.Hour}, File{Path: "b", Freshness: time.Hour})
	if err := s.Put("c1", &script{data: "content\n"}); err != nil {
		t.Fatal(err)
	}
	if errno, data := answer(t, s, readRequest(fileID(t, "c1", "a"), 0, 100)); errno != 0 || !bytes.HasPrefix(data, []byte("content\n ")) {
		t.Errorf("got %v, %q", errno, data)
	}
	if err := s.Put("c2", &script{err: syscall.ENOENT}); err != nil {
		t.Fatal(err)
	}
	if errno, _ := answer(t, s, readRequest(fileID(t, "c2", "b"), 0, 100)); errno != syscall.EIO {
		t.Errorf("with nothing to show: %v", errno)
	}
}

// Two containers whose ids give the same nodes are told apart, and the second
// is refused.
func TestCollisionIsRefused(t *testing.T) {
	s := newServer(t, File{Path: "a"})
	if err := s.Put("c1", &script{data: "x"}); err != nil {
		t.Fatal(err)
	}
	hash, _ := containerHash("c1")
	other, _ := containerHash("c2")
	s.byHash[other] = s.byHash[hash] // as if they collided
	if err := s.Put("c2", &script{data: "y"}); err == nil || !strings.Contains(err.Error(), "c1") {
		t.Errorf("got %v", err)
	}
	if s.byName("c2") != nil {
		t.Error("c2 shows c1's files")
	}
	s.Remove("c2")
	if s.byHash[other] == nil {
		t.Error("removing c2 removed c1")
	}
}

func TestPanicIsEIO(t *testing.T) {
	s := newServer(t, File{Path: "a", Freshness: time.Hour}, File{Path: "b", Freshness: time.Hour})
	if err := s.Put("c1", panics{}); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string][]byte{
		"getattr": request(opGetattr, fileID(t, "c1", "a"), make([]byte, 16)),
		"lookup":  request(opLookup, fileID(t, "c1", ""), []byte("a\x00")),
	} {
		for range 2 { // no lock is left held
			if errno, _ := answer(t, s, in); errno != syscall.EIO {
				t.Errorf("%s: %v", name, errno)
			}
		}
	}
	if errno, _ := answer(t, s, request(opGetattr, fileID(t, "c1", "b"), make([]byte, 16))); errno != 0 {
		t.Errorf("the other file: %v", errno)
	}
	if n := s.stats.panics.Load(); n != 4 {
		t.Errorf("counted %d", n)
	}
}

type panics struct{}

func (panics) Render(dst []byte, file int) ([]byte, error) {
	if file == 0 {
		panic("renderer")
	}
	return append(dst, 'b'), nil
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	s := newServer(t, File{Path: "proc/meminfo", Freshness: time.Nanosecond})
	if err := s.Put("c1", &counting{}); err != nil {
		t.Fatal(err)
	}
	node := fileID(t, "c1", "proc/meminfo")
	out := aligned(outSize)
	for name, in := range map[string][]byte{
		"getattr": request(opGetattr, node, make([]byte, 16)),
		"read":    readRequest(node, 0, 4096),
	} {
		s.handle(in, out)
		if n := testing.AllocsPerRun(1000, func() { s.handle(in, out) }); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// counting renders 1400 bytes, others at every call.
type counting struct{ n byte }

func (c *counting) Render(dst []byte, _ int) ([]byte, error) {
	c.n++
	for range 1400 {
		dst = append(dst, c.n)
	}
	return dst, nil
}

// The root is read in pieces while containers come and go: each that stays is
// seen once.
func TestListTopInPieces(t *testing.T) {
	s := newServer(t, File{Path: "a"})
	for i := range 300 {
		if err := s.Put("c"+strings.Repeat("x", i%50)+string(rune('a'+i/50)), &script{data: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]int)
	var off uint64
	for i := 0; ; i++ {
		list := gofuse.NewDirEntryList(make([]byte, 512), off)
		s.listTop(off, list)
		entries, err := gofuse.ParseDirEntries(list.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			seen[e.Name]++
			off = e.Off
		}
		s.Remove("ca") // there or not
		if err := s.Put("new"+string(rune('a'+i%26)), &script{data: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		name := "c" + strings.Repeat("x", i%50) + string(rune('a'+i/50))
		if n := seen[name]; n != 1 && name != "ca" {
			t.Errorf("%s seen %d times", name, n)
		}
	}
	for _, name := range []string{".", "..", serviceDir} {
		if seen[name] != 1 {
			t.Errorf("%s seen %d times", name, seen[name])
		}
	}
}

func FuzzHandle(f *testing.F) {
	node := nodeID(0xd0f631ca1ddb, pathIndex("proc/a"))
	f.Add(request(opGetattr, node, make([]byte, 16)))
	f.Add(readRequest(node, 1<<63, 1<<31))
	f.Add(request(opLookup, rootID, []byte("c1\x00")))
	f.Add(request(opLookup, rootID, []byte(".go-fuse-epoll-hack\x00")))
	f.Add(request(opReaddir, rootID, make([]byte, 40)))
	f.Add(request(opInit, 0, bytes.Repeat([]byte{7, 0, 0, 0}, 16)))
	f.Add(request(opBatchForget, 0, bytes.Repeat([]byte{255}, 32)))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > inSize {
			return
		}
		s := newServer(t, File{Path: "proc/a", Freshness: time.Hour})
		if err := s.Put("c1", &script{data: "x\n"}); err != nil {
			t.Fatal(err)
		}
		in := aligned(max(len(data), 1))[:len(data)]
		copy(in, data)
		out := aligned(outSize)
		n := s.handle(in, out)
		if n != 0 && (n < headerOut || int(binary.NativeEndian.Uint32(out)) != n) {
			t.Fatalf("reply of %d bytes that says %d", n, binary.NativeEndian.Uint32(out))
		}
		if s.stats.panics.Load() != 0 {
			t.Fatal("panicked")
		}
	})
}
