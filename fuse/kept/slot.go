package kept

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Slot is where a thread reads its requests to, so that the request it works
// at when it dies is not lost with it. A request begins with its own length
// (struct fuse_in_header); a slot that begins with 0 is empty. The thread
// empties it before it reads the next, and read(2) fills it in place: there is
// no moment at which the request is only in the dead thread's memory.
type Slot []byte

// Slot returns slot i.
func (m *Memory) Slot(i int) Slot {
	at := headerSize + i*SlotSize
	return m.data[at : at+SlotSize : at+SlotSize]
}

// Lock brings the first n slots into memory to stay: the kernel fails a
// request with EIO when it cannot copy it out because the page is not there
// and the reader has just been killed.
func (m *Memory) Lock(n int) error {
	first := m.data[:headerSize+n*SlotSize]
	if err := unix.Mlock(first); err != nil {
		return fmt.Errorf("lock the request slots in memory: %w", err)
	}
	return nil
}

// Clear empties the slot.
func (s Slot) Clear() { s.length().Store(0) }

// Request returns the request in the slot, nil when it is empty or cannot be
// one. It is the slot's memory.
func (s Slot) Request() []byte {
	const header = 40
	n := s.length().Load()
	if n < header || n > SlotSize {
		return nil
	}
	return s[:n]
}

// Unique returns the number by which the kernel knows the request in the
// slot, 0 when it is empty.
func (s Slot) Unique() uint64 {
	if s.Request() == nil {
		return 0
	}
	return (*atomic.Uint64)(unsafe.Pointer(&s[8])).Load()
}

func (s Slot) length() *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&s[0])) }
