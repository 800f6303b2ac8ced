// Package flock takes flock(2) locks with a bound on the waiting.
package flock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another process kept a lock for longer than one waited.
var ErrBusy = errors.New("locked by another process")

// Wait locks f exclusively. When the lock is not free within wait it closes f
// and returns an error wrapping [ErrBusy]; it closes f on any error.
// With wait 0 it does not wait.
func Wait(f *os.File, wait time.Duration) error {
	fd := int(f.Fd())
	err := try(fd)
	if errors.Is(err, unix.EWOULDBLOCK) && wait > 0 {
		err = block(fd, wait)
	}
	if err == nil {
		return nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w: %s was not free within %s", ErrBusy, f.Name(), wait)
	}
	return fmt.Errorf("flock %s: %w", f.Name(), err)
}

func try(fd int) error {
	for {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// block waits in the kernel, which serves waiters in order, on a goroutine of
// its own. When the time is over the goroutine stays until the lock comes; it
// then holds the last reference to the file, which the caller has closed, so
// the lock is dropped at once.
func block(fd int, wait time.Duration) error {
	done := make(chan error, 1)
	go func() {
		for {
			err := unix.Flock(fd, unix.LOCK_EX)
			if !errors.Is(err, unix.EINTR) {
				done <- err
				return
			}
		}
	}()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return unix.EWOULDBLOCK
	}
}

// A File is a lock whose file can be removed when it is given back, so that
// locks named by short-lived things leave nothing behind.
type File struct{ f *os.File }

// Acquire takes the lock at path, making the file and its directory.
func Acquire(path string, wait time.Duration) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create lock directory: %w", err)
	}
	for deadline := time.Now().Add(wait); ; {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		if err := Wait(f, max(0, time.Until(deadline))); err != nil {
			return nil, err
		}
		if isAt(f, path) {
			return &File{f: f}, nil
		}
		f.Close() // its holder removed it while we waited: the name is free again
	}
}

// isAt reports whether path still names f.
func isAt(f *os.File, path string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	at, err := os.Lstat(path)
	return err == nil && os.SameFile(have, at)
}

// Release gives the lock back, and removes its file unless it is to be kept.
func (l *File) Release(keep bool) {
	if !keep {
		os.Remove(l.f.Name()) // before the unlock: nobody else can hold this file then
	}
	l.f.Close()
}
