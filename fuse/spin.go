package fuse

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// spinFor is how long a thread looks for the next request before it
	// sleeps. Requests come in chains (a GETATTR and its READ, the LOOKUPs of a
	// path), and to wake a CPU that went idle in between costs more than the
	// request itself: docs/decisions/0003-looking-before-sleeping.md.
	spinFor = 120 * time.Microsecond
	// spinShare bounds the looking to one part in so many of the time that
	// passes: 1 % of one CPU, however many containers read.
	spinShare = 100
	// spinSaved is how much unused share is kept for a burst.
	spinSaved = 20 * time.Millisecond
)

// A spinner shares the looking among the threads: one looks at a time.
type spinner struct {
	busy  atomic.Bool
	spent time.Duration // guarded by busy, as since is
	since time.Time
}

// wait returns when a request is likely there, or looking for one is not
// worth more time. The read that follows sleeps if need be.
func (s *spinner) wait(fd int) {
	if !s.busy.CompareAndSwap(false, true) {
		return
	}
	defer s.busy.Store(false)
	start := time.Now()
	// What was spent is forgotten at the rate of the share.
	s.spent = max(s.spent-start.Sub(s.since)/spinShare, 0)
	s.since = start
	if s.spent > spinSaved {
		return
	}
	poll, now := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}, unix.Timespec{}
	for {
		// Without the scheduler's knowledge: it would take this thread's place
		// away, and wake another one, for a call that does not wait.
		n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		passed := time.Since(start)
		if n > 0 || errno != 0 || passed > spinFor {
			s.spent += passed
			return
		}
	}
}
