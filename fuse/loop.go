package fuse

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Serve answers the requests read from the /dev/fuse descriptor fd, which
// stays the caller's and must be in blocking mode, until the connection ends
// (the last mount is gone) or fails. init is the INIT message of a connection
// that a predecessor has begun, nil for a new one: see [Server.InitMessage].
//
// Each thread is locked to its goroutine and sleeps in read(2) itself: a
// request wakes the thread that answers it, with no poller and no scheduler
// in between. When ctx ends, Serve returns; threads that sleep in read(2)
// do so until the connection ends.
func (s *Server) Serve(ctx context.Context, fd int, init []byte) error {
	if init != nil {
		if err := s.resume(init); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go s.notify.run(ctx, fd, &s.stats)
	done := make(chan error, s.opts.Threads)
	var wg sync.WaitGroup
	for range s.opts.Threads {
		wg.Go(func() { done <- s.loop(fd) })
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		wg.Wait() // what ended one ends all
		return err
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

// InitMessage returns the INIT message of the connection, for a successor;
// nil before it was received.
func (s *Server) InitMessage() []byte {
	if m := s.initMessage.Load(); m != nil {
		return *m
	}
	return nil
}

func (s *Server) loop(fd int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	in, out := aligned(inSize), aligned(outSize)
	for {
		n, err := unix.Read(fd, in)
		switch err {
		case nil:
		case unix.EINTR, unix.EAGAIN, unix.ENOENT: // ENOENT: interrupted before we read it
			continue
		case unix.ENODEV: // unmounted
			return nil
		default:
			return fmt.Errorf("read a request from /dev/fuse: %w", err)
		}
		s.saveInit(in[:n])
		n = s.handle(in[:n], out)
		if n == 0 {
			continue
		}
		// ENOENT: the caller was killed and no longer waits.
		if _, err := unix.Write(fd, out[:n]); err != nil && err != unix.ENOENT && err != unix.EINTR {
			s.stats.writeErrors.Add(1)
		}
	}
}

// saveInit keeps the connection's INIT message.
func (s *Server) saveInit(in []byte) {
	if len(in) >= headerIn && *(*uint32)(unsafe.Pointer(&in[4])) == opInit {
		m := append([]byte(nil), in...)
		s.initMessage.Store(&m)
	}
}

// aligned returns n bytes that may hold the protocol's structures.
func aligned(n int) []byte {
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)
}
