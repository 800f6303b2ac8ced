package fuse

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"github.com/truesize/truesize/fuse/kept"
	"golang.org/x/sys/unix"
)

// Serve answers the requests read from the /dev/fuse descriptor fd, which
// stays the caller's and must be in blocking mode, until the connection ends
// (the last mount is gone) or fails. A connection that a predecessor began is
// continued: its INIT message, the requests that it left unanswered and the
// files as readers last saw them are in Options.Kept.
//
// Each thread is locked to its goroutine and sleeps in read(2) itself: a
// request wakes the thread that answers it, with no poller and no scheduler
// in between. When ctx ends, Serve returns; threads that sleep in read(2)
// do so until the connection ends.
func (s *Server) Serve(ctx context.Context, fd int) error {
	memory, err := s.begin()
	if err != nil {
		return err
	}
	s.answerAgain(fd, memory)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go s.notify.run(ctx, fd, &s.stats)
	go s.recheck(s.listing())
	go s.prepare(ctx)
	done := make(chan error, s.opts.Threads)
	var wg sync.WaitGroup
	for i := range s.opts.Threads {
		wg.Go(func() { done <- s.loop(fd, memory, i) })
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		wg.Wait() // what ended one ends all
		return err
	}
}

// begin returns the memory to work in, with the server in the state that the
// connection is in.
func (s *Server) begin() (memory *kept.Memory, err error) {
	if memory = s.opts.Kept; memory == nil {
		if memory, err = kept.Create(); err != nil {
			return nil, err
		}
	}
	if init := memory.InitMessage(); init != nil {
		if err := s.resume(init); err != nil {
			return nil, err
		}
	}
	if err := memory.Lock(s.opts.Threads); err != nil && s.opts.Warn != nil {
		s.opts.Warn(err)
	}
	if s.opts.Kept != nil {
		s.restore(memory.Snapshots())
	}
	return memory, nil
}

// restore takes over the snapshots that a predecessor left. Not before the
// first request may come: it may have made some until it was killed.
func (s *Server) restore(from *kept.Snapshots) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from.Sweep(func(node uint64) bool {
		hash, _ := splitNodeID(node)
		return s.byHash[hash] != nil
	})
	s.snapshots = from
	for _, ct := range s.byHash {
		for i := range ct.nodes {
			ct.nodes[i].restore(from)
		}
	}
}

// recheck renders every file of the containers that there are at the beginning
// once. The kernel is brought in line where a container's size changed while there
// was no server to say so; and there is a snapshot to show of files that nobody has
// read yet, should no server come up after this one.
func (s *Server) recheck(containers []*container) {
	for _, ct := range containers {
		s.prime(ct)
	}
}

func (s *Server) prime(ct *container) {
	for i := range ct.nodes {
		n := &ct.nodes[i]
		restored, before := n.restored(), n.stampNow()
		if restored && n.freshness > 0 {
			continue
		}
		if _, err := n.snapshot(time.Now()); err == nil && restored && n.stampNow() != before {
			s.expireAll(ct)
			return
		}
	}
}

// expireAll makes the kernel forget what it holds of a container's files.
func (s *Server) expireAll(ct *container) {
	for i := range ct.nodes {
		ct.nodes[i].refresh()
		s.notify.inode(ct.nodes[i].id)
	}
}

// resume puts the server in the state that the reply to init left its
// predecessor in.
func (s *Server) resume(init []byte) error {
	in := aligned(inSize)[:len(init)]
	copy(in, init)
	out := aligned(outSize)
	if n := s.handle(in, out); n <= headerOut {
		return errors.New("the INIT message of the connection is not usable")
	}
	// The sizes may have changed while no server ran.
	for _, ct := range s.listing() {
		for i := range ct.nodes {
			s.notify.inode(ct.nodes[i].id)
		}
	}
	return nil
}

// answerAgain answers what a predecessor was working at when it died. It may
// have written an answer already: the kernel then does not know the request
// any more (ENOENT), and no harm is done.
func (s *Server) answerAgain(fd int, memory *kept.Memory) {
	out := aligned(outSize)
	for i := range kept.Slots {
		slot := memory.Slot(i)
		if in := slot.Request(); in != nil {
			s.answer(fd, memory, in, out)
			memory.Count(kept.Reanswered)
		}
		slot.Clear()
	}
}

// loop reads requests into a slot and answers them.
func (s *Server) loop(fd int, memory *kept.Memory, i int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slot, out := memory.Slot(i), aligned(outSize)
	for {
		slot.Clear() // after the answer is written, before the next request
		s.spin.wait(fd)
		n, err := unix.Read(fd, slot)
		switch err {
		case nil:
			s.answer(fd, memory, slot[:n], out)
			s.seen(slot[:n]) // after the answer: nobody waits for it
		case unix.EINTR, unix.EAGAIN, unix.ENOENT: // ENOENT: interrupted before we read it
		case unix.ENODEV: // unmounted
			return nil
		default:
			return fmt.Errorf("read a request from /dev/fuse: %w", err)
		}
	}
}

// answer answers one request. An INIT message is kept before it is answered.
func (s *Server) answer(fd int, memory *kept.Memory, in, out []byte) {
	if len(in) >= headerIn && *(*uint32)(unsafe.Pointer(&in[4])) == opInit {
		memory.SaveInit(in)
	}
	if n := s.handle(in, out); n > 0 {
		s.write(fd, out[:n])
	}
}

func (s *Server) write(fd int, reply []byte) {
	// ENOENT: the caller was killed and no longer waits.
	if _, err := unix.Write(fd, reply); err != nil && err != unix.ENOENT && err != unix.EINTR {
		s.stats.writeErrors.Add(1)
	}
}

// aligned returns n bytes that may hold the protocol's structures.
func aligned(n int) []byte {
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)
}
