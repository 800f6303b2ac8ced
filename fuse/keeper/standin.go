package keeper

import (
	"fmt"
	"unsafe"

	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/kept"
	"golang.org/x/sys/unix"
)

// A standIn answers requests while no server does. It reads them by a
// descriptor of its own, cloned from the connection's, because that one is in
// blocking mode for the server's threads, and one that sleeps there would
// take a request away from the next server.
type standIn struct {
	clone, stop int
	done        chan struct{}
}

// answerStart makes the keeper answer: first what the dead server was at, then
// what comes.
func (k *Keeper) answerStart() {
	if k.standIn != nil {
		return
	}
	k.answerSlots(nil)
	fallback, err := k.opts.Fallback(k.Memory)
	if err != nil {
		k.opts.Log.Error("nobody answers for the view", "error", err)
		return
	}
	clone, err := cloneConnection(k.Fuse)
	if err != nil {
		k.opts.Log.Error("nobody answers for the view", "error", err)
		return
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(clone)
		k.opts.Log.Error("nobody answers for the view", "error", fmt.Errorf("eventfd: %w", err))
		return
	}
	s := &standIn{clone: clone, stop: stop, done: make(chan struct{})}
	k.standIn = s
	go s.run(fallback)
}

// answerStop ends that. What it has read it has answered.
func (k *Keeper) answerStop() {
	s := k.standIn
	if s == nil {
		return
	}
	k.standIn = nil
	_, _ = unix.Write(s.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-s.done
	unix.Close(s.clone)
	unix.Close(s.stop)
}

func (s *standIn) run(fallback *fuse.Fallback) {
	defer close(s.done)
	in, out := buffer(), buffer()
	fds := []unix.PollFd{{Fd: int32(s.clone), Events: unix.POLLIN}, {Fd: int32(s.stop), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		if fds[1].Revents != 0 || fds[0].Revents&unix.POLLERR != 0 { // told to stop, or unmounted
			return
		}
		n, err := unix.Read(s.clone, in)
		switch err {
		case nil:
			if n = fallback.Answer(in[:n], out); n > 0 {
				_, _ = unix.Write(s.clone, out[:n])
			}
		case unix.EAGAIN, unix.EINTR, unix.ENOENT:
		default:
			return
		}
	}
}

// answerSlots answers requests that a server left, all of them when which is
// nil. A server that may still live keeps its slots.
func (k *Keeper) answerSlots(which func(unique uint64) bool) {
	fallback, err := k.opts.Fallback(k.Memory)
	if err != nil {
		return
	}
	in, out := buffer(), buffer()
	for i := range kept.Slots {
		slot := k.Memory.Slot(i)
		u := slot.Unique()
		if u == 0 || (which != nil && !which(u)) {
			continue
		}
		n := copy(in, slot.Request())
		if n = fallback.Answer(in[:n], out); n > 0 {
			_, _ = unix.Write(k.Fuse, out[:n]) // ENOENT: it was answered before
		}
		if k.server == nil {
			slot.Clear()
		}
	}
}

// cloneConnection opens /dev/fuse once more for the same connection, in
// non-blocking mode.
func cloneConnection(of int) (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/fuse: %w", err)
	}
	const devIocClone = 0x8004e500 // FUSE_DEV_IOC_CLONE, include/uapi/linux/fuse.h
	from := uint32(of)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), devIocClone, uintptr(unsafe.Pointer(&from))); errno != 0 {
		unix.Close(fd)
		return -1, fmt.Errorf("clone the FUSE connection: %w", errno)
	}
	return fd, nil
}

// buffer returns memory that may hold the protocol's structures.
func buffer() []byte {
	words := make([]uint64, max(fuse.BufferSize, kept.SlotSize)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
}
