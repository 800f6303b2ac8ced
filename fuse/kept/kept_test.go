package kept

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func create(t testing.TB) *Memory {
	t.Helper()
	m, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m.data); unix.Close(m.fd) })
	return m
}

// again maps the memory a second time, as a successor does.
func again(t testing.TB, m *Memory) *Memory {
	t.Helper()
	fd, err := unix.Dup(m.fd)
	if err != nil {
		t.Fatal(err)
	}
	n, err := Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(n.data); unix.Close(n.fd) })
	return n
}

func TestHeader(t *testing.T) {
	m := create(t)
	if m.InitMessage() != nil {
		t.Error("new memory has an INIT message")
	}
	m.SaveInit([]byte("init"))
	m.Beat()
	m.Count(Reanswered)
	n := again(t, m)
	if got := n.InitMessage(); string(got) != "init" {
		t.Errorf("INIT message %q", got)
	}
	if n.Heartbeat() != 1 || n.Counted(Reanswered) != 1 || n.Counted(Deaths) != 0 {
		t.Errorf("%d beats, %d, %d", n.Heartbeat(), n.Counted(Reanswered), n.Counted(Deaths))
	}
	if offCounters+8*int(counters) > offInitLen {
		t.Error("the counters reach into the INIT message")
	}
	if entrySize != 64 {
		t.Errorf("an entry has %d bytes: the layout changed", entrySize)
	}
}

func TestOtherLayout(t *testing.T) {
	m := create(t)
	for name, change := range map[string]func(){
		"version": func() { m.data[offLayout]++ },
		"slots":   func() { m.data[offSlots]++ },
		"magic":   func() { m.data[0]++ },
	} {
		saved := append([]byte(nil), m.data[:headerSize]...)
		change()
		if n, err := Open(m.fd); !errors.Is(err, ErrLayout) {
			t.Errorf("%s: %v, %v", name, n, err)
		}
		copy(m.data, saved)
	}
	small, err := unix.MemfdCreate("small", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(small)
	if _, err := Open(small); !errors.Is(err, ErrLayout) {
		t.Errorf("empty memory: %v", err)
	}
}

func TestSlot(t *testing.T) {
	m := create(t)
	if err := m.Lock(2); err != nil {
		t.Fatal(err)
	}
	s := m.Slot(1)
	if s.Request() != nil || s.Unique() != 0 {
		t.Error("a new slot is not empty")
	}
	request := make([]byte, 56)
	binary.LittleEndian.PutUint32(request, 56)
	binary.LittleEndian.PutUint64(request[8:], 4242)
	copy(s, request)
	other := again(t, m).Slot(1)
	if !bytes.Equal(other.Request(), request) || other.Unique() != 4242 {
		t.Errorf("a successor finds %x", other.Request())
	}
	if m.Slot(0).Request() != nil || m.Slot(2).Request() != nil {
		t.Error("slots overlap")
	}
	for _, n := range []uint32{1, 39, SlotSize + 1, 1 << 31} {
		binary.LittleEndian.PutUint32(s, n)
		if s.Request() != nil {
			t.Errorf("a length of %d is taken for a request", n)
		}
	}
	s.Clear()
	if other.Request() != nil {
		t.Error("a cleared slot is not empty")
	}
	if last := m.Slot(Slots - 1); len(last) != SlotSize {
		t.Error("the last slot is short")
	}
}

func wantSnapshot(t *testing.T, s *Snapshots, node uint64, want []byte) {
	t.Helper()
	got, mtime, ok := s.Load(node)
	if want == nil {
		if ok {
			t.Errorf("node %d has a snapshot", node)
		}
		return
	}
	if !ok || !bytes.Equal(got, want) || mtime != int64(node) {
		t.Errorf("node %d: %d bytes, mtime %d, %t; want %d bytes", node, len(got), mtime, ok, len(want))
	}
}

func pattern(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func TestSnapshots(t *testing.T) {
	m := create(t)
	s := m.Snapshots()
	s.Store(1, pattern('a', 1400), 1)
	s.Store(2, pattern('b', 100_000), 2)
	s.Store(3, pattern('c', 1), 3)
	s.Store(1, pattern('A', 1300), 1)   // shrinks in place
	s.Store(3, pattern('C', 20_000), 3) // grows elsewhere
	s.Store(4, pattern('d', 700), 4)
	s.Drop(2)
	s.Drop(99)
	for _, s := range []*Snapshots{s, again(t, m).Snapshots()} {
		wantSnapshot(t, s, 1, pattern('A', 1300))
		wantSnapshot(t, s, 2, nil)
		wantSnapshot(t, s, 3, pattern('C', 20_000))
		wantSnapshot(t, s, 4, pattern('d', 700))
		if s.Nodes() != 3 {
			t.Errorf("%d snapshots, want 3", s.Nodes())
		}
	}
	s.Sweep(func(node uint64) bool { return node == 4 })
	wantSnapshot(t, s, 3, nil)
	wantSnapshot(t, again(t, m).Snapshots(), 4, pattern('d', 700))
}

// What is dropped must make room: containers come and go for ever.
func TestSnapshotsReuseRoom(t *testing.T) {
	m := create(t)
	s := m.Snapshots()
	const size = 100 * granuleSize
	for i := range uint64(3 * granules / 100) {
		s.Store(i+1, pattern('x', size), int64(i+1))
		if i >= 10 {
			s.Drop(i - 9)
		}
	}
	for i := range uint64(3 * entries) {
		s.Store(1<<32+i, pattern('y', 1), 1)
		s.Drop(1<<32 + i)
	}
	if n := m.Counted(NotKept); n != 0 {
		t.Errorf("%d snapshots had no room", n)
	}
	s.Store(7, pattern('z', granules*granuleSize+1), 7)
	wantSnapshot(t, s, 7, nil)
	if n := m.Counted(NotKept); n != 1 {
		t.Errorf("%d snapshots not kept, want the one too large", n)
	}
}

// Memory that was never touched costs nothing, and stays untouched while the
// containers that come are no more than those that go.
func TestSnapshotsStayLow(t *testing.T) {
	m := create(t)
	s := m.Snapshots()
	const alive = 10
	for node := uint64(1); node < 1000; node++ {
		s.Store(node, bytes.Repeat([]byte("x"), 600*(1+int(node)%4)), 1)
		if node > alive {
			s.Drop(node - alive)
		}
	}
	// Each has at most 5 granules; what is left between them may be too short.
	for g := 3 * alive * 5; g < granules; g++ {
		at := granulesAt() + g*granuleSize
		if !bytes.Equal(m.data[at:at+granuleSize], make([]byte, granuleSize)) {
			t.Fatalf("granule %d was touched for %d snapshots", g, alive)
		}
	}
}

// A server is killed in the middle of stores, many times: its successor finds
// whole snapshots only.
func TestSnapshotsAcrossKills(t *testing.T) {
	m := create(t)
	if fd := os.Getenv("KEPT_TEST_FD"); fd != "" {
		n, _ := strconv.Atoi(fd)
		m, err := Open(n)
		if err != nil {
			t.Fatal(err)
		}
		s := m.Snapshots()
		fmt.Println("storing")
		for i := 0; ; i++ {
			node := uint64(i%50 + 1)
			s.Store(node, pattern(byte(i), 1000+i%3*1000), int64(node))
			if i%17 == 0 {
				s.Drop(uint64(i%50 + 1))
			}
		}
	}
	found := 0
	for range 20 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestSnapshotsAcrossKills$")
		cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(must(unix.Dup(m.fd))), "kept")}
		cmd.Env = append(os.Environ(), "KEPT_TEST_FD=3")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.Read(make([]byte, 8))
		cmd.Process.Kill()
		cmd.Wait()
		cmd.ExtraFiles[0].Close()
		s := m.Snapshots()
		for node := range uint64(50) {
			data, _, ok := s.Load(node + 1)
			if !ok {
				continue
			}
			found++
			if !bytes.Equal(data, pattern(data[0], len(data))) || len(data)%1000 != 0 {
				t.Fatalf("node %d is torn", node+1)
			}
		}
	}
	if found == 0 {
		t.Error("no snapshot was ever found")
	}
}

func must(fd int, err error) int {
	if err != nil {
		panic(err)
	}
	return fd
}

// FuzzSnapshots: whatever is in the table, nothing outside of the memory is
// touched, and no two snapshots share a granule.
func FuzzSnapshots(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add(pattern(0xff, 200), uint16(64))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 9}, uint16(0))
	m := create(f)
	f.Fuzz(func(t *testing.T, data []byte, at uint16) {
		clear(m.data[tableAt() : tableAt()+2*int(^uint16(0))])
		copy(m.data[tableAt()+int(at):], data[:min(len(data), 4096)])
		s := m.Snapshots()
		for node := range s.index {
			s.Load(node)
		}
		s.Store(1, pattern('a', 5000), 1)
		if s.Nodes()+len(s.free) != entries {
			t.Errorf("%d snapshots and %d free entries of %d", s.Nodes(), len(s.free), entries)
		}
	})
}
