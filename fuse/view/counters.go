package view

import (
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/truesize/truesize/fuse/procview"
	"golang.org/x/sys/unix"
)

// A counterFile keeps a container's counters in its registry directory, in
// memory shared with the file: they outlive a server that is killed.
type counterFile struct{ mem []byte }

// openCounters maps the file, which it makes if need be. The blocks are
// allocated here, so that a full file system is an error now and not a fault
// at the first store.
func openCounters(path string) (*counterFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const length = procview.CountersSize + procview.LoadSize
	if err := unix.Fallocate(int(f.Fd()), 0, 0, length); err != nil {
		return nil, &os.PathError{Op: "allocate", Path: path, Err: err}
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	return &counterFile{mem}, nil
}

// load reads what an earlier server stored. The error wraps
// [procview.ErrCorrupt] when there is nothing, or nothing whole.
func (f *counterFile) load(c *procview.Counters) (err error) {
	defer guard(&err)()
	return c.Unmarshal(f.mem)
}

// store writes the counters.
func (f *counterFile) store(c *procview.Counters) (err error) {
	defer guard(&err)()
	c.Marshal(f.mem)
	return nil
}

// storeLoad and loadLoad are those of the load averages, which lie behind the
// counters.
func (f *counterFile) storeLoad(l procview.Load, now time.Duration) (err error) {
	defer guard(&err)()
	l.Marshal(f.mem[procview.CountersSize:], now)
	return nil
}

func (f *counterFile) loadLoad() (l procview.Load, at time.Duration, err error) {
	defer guard(&err)()
	l, at, ok := procview.UnmarshalLoad(f.mem[procview.CountersSize:])
	if !ok {
		err = procview.ErrCorrupt
	}
	return l, at, err
}

func (f *counterFile) close() { _ = unix.Munmap(f.mem) }

// guard turns the fault of a file that someone truncated into an error.
func guard(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if v := recover(); v != nil {
			*err = fmt.Errorf("counters: %v", v)
		}
	}
}
