// Package counters counts what the plugin does in a file that all its
// processes and the agent map: a program that runs for a millisecond has no
// other place to add to. The counters live as long as the run directory; they
// need no agent to run and survive its restarts.
//
// The file is an array of 64-bit words in the machine's byte order, each
// changed by atomic addition. Its name carries the layout's version.
package counters

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// file is the name in the run directory.
const file = "counters.v1"

// Ops are the counted verbs, in the order of the file.
func Ops() []string { return []string{"ADD", "DEL", "CHECK", "GC", "STATUS"} }

// Codes are the CNI error codes counted apart, in the order of the file; any
// other is counted as 999, the last.
func Codes() []uint {
	return []uint{1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51, 100, 101, 102, 103, 999}
}

// Bounds are the upper bounds of the duration buckets, in seconds; one more
// bucket holds what is longer.
func Bounds() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
}

// Kinds are the kinds of collected objects, in the order of the file.
func Kinds() []string {
	return []string{"attachment", "address", "route", "neighbour", "link"}
}

// Offsets of the file's parts, in words.
const (
	nOps, nCodes, nBuckets, nKinds = 5, 16, 15, 5

	perOp       = nBuckets + 1 + nCodes // buckets, sum in microseconds, errors
	atConflicts = nOps * perOp
	atCollected = atConflicts + 1
	words       = atCollected + nKinds
)

// A Set is the mapped counters. A nil Set counts nothing.
type Set struct {
	mem []byte
}

// Open maps the counters of the run directory, made if need be.
func Open(runDir string) (*Set, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("open counters: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(runDir, file), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open counters: %w", err)
	}
	defer f.Close()
	// Reserving the blocks now turns a full disk into an error here; without
	// it the first addition would end the process with SIGBUS.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, words*8); err != nil {
		return nil, fmt.Errorf("reserve %s: %w", f.Name(), err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, words*8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	return &Set{mem: mem}, nil
}

// Close unmaps the counters.
func (s *Set) Close() error {
	if s == nil {
		return nil
	}
	return unix.Munmap(s.mem)
}

func (s *Set) word(i int) *uint64 { return (*uint64)(unsafe.Pointer(&s.mem[i*8])) }

func (s *Set) add(i int, n uint64) {
	if s != nil {
		atomic.AddUint64(s.word(i), n)
	}
}

// Done counts one call of verb op that took d and ended with the CNI error
// code, 0 for success.
func (s *Set) Done(op string, d time.Duration, code uint) {
	o := index(Ops(), op)
	if o < 0 {
		return
	}
	bucket := 0
	for bucket < nBuckets-1 && d.Seconds() > Bounds()[bucket] {
		bucket++
	}
	s.add(o*perOp+bucket, 1)
	s.add(o*perOp+nBuckets, uint64(max(0, d.Microseconds())))
	if code != 0 {
		c := index(Codes(), code)
		if c < 0 {
			c = nCodes - 1
		}
		s.add(o*perOp+nBuckets+1+c, 1)
	}
}

// Conflict counts an address found to be another host's.
func (s *Set) Conflict() { s.add(atConflicts, 1) }

// Collected counts n leaked objects of a kind of [Kinds] that were removed.
func (s *Set) Collected(kind string, n int) {
	if k := index(Kinds(), kind); k >= 0 && n > 0 {
		s.add(atCollected+k, uint64(n))
	}
}

func index[T comparable](list []T, v T) int {
	for i, x := range list {
		if x == v {
			return i
		}
	}
	return -1
}

// An Op is what was counted of one verb.
type Op struct {
	Buckets []uint64 // calls by duration, one more than [Bounds], not cumulative
	Sum     time.Duration
	Errors  map[uint]uint64 // by CNI code, codes that occurred only
}

// A Snapshot is the counters at one time.
type Snapshot struct {
	Ops       map[string]Op
	Conflicts uint64
	Collected map[string]uint64
}

// Snapshot reads all counters, each atomically.
func (s *Set) Snapshot() Snapshot {
	get := func(i int) uint64 { return atomic.LoadUint64(s.word(i)) }
	snap := Snapshot{Ops: map[string]Op{}, Conflicts: get(atConflicts), Collected: map[string]uint64{}}
	for o, name := range Ops() {
		op := Op{Sum: time.Duration(get(o*perOp+nBuckets)) * time.Microsecond, Errors: map[uint]uint64{}}
		for b := range nBuckets {
			op.Buckets = append(op.Buckets, get(o*perOp+b))
		}
		for c, code := range Codes() {
			if n := get(o*perOp + nBuckets + 1 + c); n > 0 {
				op.Errors[code] = n
			}
		}
		snap.Ops[name] = op
	}
	for k, kind := range Kinds() {
		snap.Collected[kind] = get(atCollected + k)
	}
	return snap
}
