package view

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"github.com/truesize/truesize/fuse/procview"
	"github.com/truesize/truesize/pkg/cgroup"
	"golang.org/x/sys/unix"
)

// stats are the counters of a view. They only grow.
type stats struct {
	renders         [numFiles]atomic.Uint64
	errors          [numFiles][numReasons]atomic.Uint64
	fallbacks       [numFiles]atomic.Uint64
	badEntries      atomic.Uint64
	collisions      atomic.Uint64
	counterErrors   atomic.Uint64
	samplesDeferred atomic.Uint64
	sampleNanos     atomic.Uint64
}

// Why a file could not be computed.
const (
	cgroupGone = iota
	noController
	badEntry
	hostFormat
	tooManyFiles
	panicked
	otherReason
	numReasons
)

var reasonNames = [numReasons]string{
	"cgroup_gone", "no_controller", "bad_entry", "host_format", "too_many_files", "panic", "other",
}

func reasonOf(err error) int {
	switch {
	case errors.Is(err, cgroup.ErrGone):
		return cgroupGone
	case errors.Is(err, cgroup.ErrNoController):
		return noController
	case errors.Is(err, errBadEntry):
		return badEntry
	case errors.Is(err, procview.ErrFormat), errors.Is(err, os.ErrNotExist):
		return hostFormat
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return tooManyFiles
	case errors.Is(err, errPanic):
		return panicked
	}
	return otherReason
}

func (s *stats) failed(file int, err error) { s.errors[file][reasonOf(err)].Add(1) }

// A devicePool lends the slices that a cgroup's I/O is read into.
type devicePool struct{ pool sync.Pool }

func (p *devicePool) get() *[]cgroup.Device {
	if d, ok := p.pool.Get().(*[]cgroup.Device); ok {
		return d
	}
	return new([]cgroup.Device)
}

func (p *devicePool) put(d *[]cgroup.Device) { p.pool.Put(d) }
