// Package cgroup reads what the kernel knows of a container's cgroup, v1, v2
// and hybrid, from any root directory (so that fixture trees work).
//
// Files are opened once and read again with pread. It imports pkg/size only.
package cgroup

import "errors"

// ErrGone says that the cgroup does not exist any more.
var ErrGone = errors.New("cgroup is gone")

// CPU is the CPU time of a cgroup since it was made. All values are in
// microseconds but the counts.
type CPU struct {
	User, System uint64
	// Throttled is how long the cgroup's run queues were held back by its
	// quota, summed over CPUs (v2 cpu.stat throttled_usec, v1 throttled_time).
	Throttled              uint64
	NrPeriods, NrThrottled uint64
}

// Memory is the memory of a cgroup and its descendants, in bytes.
// Sources: v2 memory.current and memory.stat; v1 memory.usage_in_bytes and
// the total_ lines of memory.stat.
type Memory struct {
	Usage                                    uint64 // charged, page cache included
	SwapUsage                                uint64
	File, Anon, Shmem, FileMapped, AnonTHP   uint64
	ShmemTHP, FileTHP                        uint64
	ActiveAnon, InactiveAnon                 uint64
	ActiveFile, InactiveFile, Unevictable    uint64
	Dirty, Writeback, SwapCached             uint64
	KernelStack, PageTables, Percpu, Sock    uint64
	Slab, SlabReclaimable, SlabUnreclaimable uint64
}

// Device is the I/O of a cgroup on one block device: v2 io.stat, v1
// blkio.throttle.io_service_bytes and io_serviced (recursive where present).
type Device struct {
	Major, Minor                        uint32
	ReadBytes, WriteBytes, DiscardBytes uint64
	ReadIOs, WriteIOs, DiscardIOs       uint64
}
