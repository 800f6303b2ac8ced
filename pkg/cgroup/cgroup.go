// Package cgroup reads what the kernel knows of a container's cgroup, v1, v2
// and hybrid, from any root directory (so that fixture trees work).
//
// An [FS] is a cgroup file system, found by [Detect]; a [Group] is one cgroup
// in it. A Group's files are opened once and read again with pread, without
// allocating. It imports pkg/size only.
//
// Kernel sources: Documentation/admin-guide/cgroup-v2.rst and
// Documentation/admin-guide/cgroup-v1/.
package cgroup

import "errors"

var (
	// ErrGone says that the cgroup does not exist, or not any more.
	ErrGone = errors.New("cgroup is gone")
	// ErrNoController says that the cgroup has no file of that kind: the
	// controller is not enabled for it or not in the kernel.
	ErrNoController = errors.New("cgroup controller is not enabled")
	// ErrBadPath says that a string cannot be a cgroup path.
	ErrBadPath = errors.New("not a cgroup path")
)

// CPU is the CPU time of a cgroup and its descendants since it was made. All
// values are in microseconds but the counts.
//
// Sources: v2 cpu.stat; v1 cpuacct.usage, divided between user and system as
// cpuacct.stat says (which alone counts in clock ticks only). User plus
// System never decreases while the cgroup lives; each of them may, a little.
type CPU struct {
	User, System uint64
	// Nice is the part of User that ran at a positive nice value (v2, kernel
	// 6.13); 0 where the kernel does not tell.
	Nice uint64
	// Throttled is how long the cgroup's run queues were held back by a
	// quota, summed over CPUs: its own quota (v2 throttled_usec, v1
	// throttled_time) and, where the kernel has cpu.stat.local (6.18 has, 6.1
	// has not), those of its ancestors too. The kernel adds to it when a
	// throttling ends.
	Throttled              uint64
	NrPeriods, NrThrottled uint64
}

// Memory is the memory of a cgroup and its descendants, in bytes.
//
// Sources: v2 memory.current, memory.swap.current and memory.stat; v1
// memory.usage_in_bytes and the total_ lines of memory.stat. What the kernel
// does not tell is 0. Of kernel memory v1 tells the sum alone
// (memory.kmem.usage_in_bytes): it is in Kernel, and the parts are 0.
type Memory struct {
	Usage                                    uint64 // charged, page cache included
	SwapUsage                                uint64
	File, Anon, Shmem, FileMapped, AnonTHP   uint64 // File has Shmem in it, not SwapCached
	ShmemTHP, FileTHP                        uint64
	ActiveAnon, InactiveAnon                 uint64
	ActiveFile, InactiveFile, Unevictable    uint64
	Dirty, Writeback, SwapCached             uint64
	Kernel                                   uint64 // all kernel memory (v2: kernel 5.18)
	KernelStack, PageTables, Percpu, Sock    uint64
	SecPageTables, Vmalloc                   uint64
	Zswap, Zswapped                          uint64 // compressed, and what it holds
	Slab, SlabReclaimable, SlabUnreclaimable uint64
}

// Device is the I/O of a cgroup on one block device: v2 io.stat, v1
// blkio.throttle.io_service_bytes and io_serviced (recursive where present).
type Device struct {
	Major, Minor                        uint32
	ReadBytes, WriteBytes, DiscardBytes uint64
	ReadIOs, WriteIOs, DiscardIOs       uint64
}

// HugePages is what a cgroup may use and uses of huge pages of one size, in
// bytes. Limit is the smallest among the cgroup and its ancestors; 0 is none
// at all, NoLimit is no limit.
type HugePages struct {
	Limit, Usage uint64
}

// NoLimit is the limit that is none.
const NoLimit = ^uint64(0)
