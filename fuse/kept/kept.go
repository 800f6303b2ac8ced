// Package kept is the memory that outlives the view's server: what a successor
// needs to go on as if nothing had happened. It is one memfd, mapped by the
// keeper and by each server in turn:
//
//	header      magic, layout, heartbeat, counters, the connection's INIT message
//	slots       the requests in flight, one for each thread that serves
//	table       where each file's last snapshot is
//	granules    the snapshots
//
// A process may be killed between any two instructions; every change is
// ordered so that what it leaves is either the old state, the new one, or
// recognised as neither and dropped. Nothing read from it is trusted without
// a check of its bounds. The layout only grows at its end: a server and a
// keeper of different versions share it as long as [Layout] is the same.
package kept

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Layout is the version of the memory's layout.
const Layout = 1

// ErrLayout says that the memory was laid out by a version that this one
// cannot work with.
var ErrLayout = errors.New("the kept memory has another layout")

const (
	magic      = "TRUESIZE"
	headerSize = 4096

	offLayout    = 8
	offSlots     = 16
	offSlotSize  = 20
	offEntries   = 24
	offGranules  = 28
	offHeartbeat = 32
	offClaim     = 40
	offCounters  = 64
	offInitLen   = 1024
	offInit      = 1032
	maxInit      = 1024
)

// Sizes of the parts. Memory that is never touched costs nothing.
const (
	// Slots is the number of requests that can be in flight.
	Slots = 64
	// SlotSize is the largest request the kernel may send, in bytes, as the
	// server negotiates it.
	SlotSize = 132 << 10

	entries     = 16384
	granules    = 65536
	granuleSize = 512
)

// A Counter is kept with the memory, so that it counts for as long as the
// connection lives.
type Counter int

// The order is part of the layout: add at the end.
const (
	Starts          Counter = iota // servers started
	Deaths                         // servers that ended
	Hangs                          // servers killed because they did not answer
	Reanswered                     // requests of a dead server that a successor answered
	Degraded                       // requests that the keeper answered
	HostFiles                      // files of the host that the keeper showed
	Upgrades                       // servers replaced on request
	UpgradesRefused                // replacements that did not come up
	Takeovers                      // keepers that took over from another
	Adoptions                      // keepers that a server started after theirs had died
	NotKept                        // snapshots for which there was no room
	counters
)

// Memory is the kept memory, mapped.
type Memory struct {
	fd   int
	data []byte
}

// Create returns new, empty memory.
func Create() (*Memory, error) {
	fd, err := unix.MemfdCreate("truesize-kept", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(total())); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("size the kept memory: %w", err)
	}
	m, err := mapMemory(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	le := binary.LittleEndian
	le.PutUint32(m.data[offSlots:], Slots)
	le.PutUint32(m.data[offSlotSize:], SlotSize)
	le.PutUint32(m.data[offEntries:], entries)
	le.PutUint32(m.data[offGranules:], granules)
	le.PutUint32(m.data[offLayout:], Layout)
	copy(m.data, magic) // last: memory without it is nobody's
	return m, nil
}

// Open maps memory that another process created, and takes fd over.
func Open(fd int) (*Memory, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat the kept memory: %w", err)
	}
	if st.Size != int64(total()) {
		return nil, fmt.Errorf("%w: %d bytes, this version makes %d", ErrLayout, st.Size, total())
	}
	m, err := mapMemory(fd)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	head := [...]uint32{le.Uint32(m.data[offLayout:]), le.Uint32(m.data[offSlots:]), le.Uint32(m.data[offSlotSize:]),
		le.Uint32(m.data[offEntries:]), le.Uint32(m.data[offGranules:])}
	if string(m.data[:len(magic)]) != magic || head != [...]uint32{Layout, Slots, SlotSize, entries, granules} {
		_ = unix.Munmap(m.data)
		return nil, fmt.Errorf("%w: version and sizes %v, this version reads %d", ErrLayout, head, Layout)
	}
	return m, nil
}

func mapMemory(fd int) (*Memory, error) {
	data, err := unix.Mmap(fd, 0, total(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the kept memory: %w", err)
	}
	return &Memory{fd: fd, data: data}, nil
}

func total() int { return granulesAt() + granules*granuleSize }

func tableAt() int    { return headerSize + Slots*SlotSize }
func granulesAt() int { return tableAt() + entries*entrySize }

// FD returns the descriptor, which stays the memory's.
func (m *Memory) FD() int { return m.fd }

// Beat says that the server is alive. Heartbeat counts the beats.
func (m *Memory) Beat() { m.word(offHeartbeat).Add(1) }

// Heartbeat returns the number of beats so far.
func (m *Memory) Heartbeat() uint64 { return m.word(offHeartbeat).Load() }

// Claim reports whether this process, of those that ask at once, is the one
// to go on when keeper and server have died. Unclaim ends that.
func (m *Memory) Claim(pid int) bool { return m.word(offClaim).CompareAndSwap(0, uint64(pid)) }

// Unclaim is for the keeper that has everything in hand again.
func (m *Memory) Unclaim() { m.word(offClaim).Store(0) }

// Count adds one to a counter.
func (m *Memory) Count(c Counter) { m.word(offCounters + 8*int(c)).Add(1) }

// Counted returns a counter.
func (m *Memory) Counted(c Counter) uint64 { return m.word(offCounters + 8*int(c)).Load() }

// counterNames are the names of the counters, in their order.
var counterNames = [counters]string{
	"starts", "deaths", "hangs", "reanswered", "degraded", "host_files",
	"upgrades", "upgrades_refused", "takeovers", "adoptions", "not_kept",
}

// Counters returns every counter by its name.
func (m *Memory) Counters() map[string]uint64 {
	all := make(map[string]uint64, counters)
	for c, name := range counterNames {
		all[name] = m.Counted(Counter(c))
	}
	return all
}

func (m *Memory) word(off int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&m.data[off]))
}

// SaveInit keeps the connection's INIT message: with it, a server that did not
// receive it comes to the state that the one which did was in. The length is
// written last.
func (m *Memory) SaveInit(msg []byte) {
	if len(msg) <= maxInit {
		copy(m.data[offInit:], msg)
		m.word(offInitLen).Store(uint64(len(msg)))
	}
}

// NewConnection forgets what was of an earlier connection. The counters and
// snapshots stay.
func (m *Memory) NewConnection() {
	m.word(offInitLen).Store(0)
	for i := range Slots {
		m.Slot(i).Clear()
	}
}

// InitMessage returns it, nil when the connection has not begun.
func (m *Memory) InitMessage() []byte {
	n := m.word(offInitLen).Load()
	if n == 0 || n > maxInit {
		return nil
	}
	return append([]byte(nil), m.data[offInit:offInit+int(n)]...)
}
