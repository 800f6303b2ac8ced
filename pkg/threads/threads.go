// Package threads asks the kernel to run this process's threads soon.
package threads

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// shortSlice is the shortest that the kernel grants (kernel/sched/syscalls.c,
// __setparam_fair).
const shortSlice = 100 * time.Microsecond

// Soon asks the kernel to run the threads of this process soon after they wake,
// and for shorter at a time in exchange: their share of the CPUs stays what it
// is. Others wait for their answers, for which a fraction of a millisecond is
// enough, on a node whose CPUs are busy.
//
// Kernels before 6.12 have one slice for all, and ignore it. Threads that are
// started later inherit it.
func Soon() error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list own threads: %w", err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := soon(tid); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("shorten a thread's slice: %w", err)
		}
	}
	return nil
}

// soon asks for one thread, and changes nothing else of it.
func soon(tid int) error {
	attr, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		return err
	}
	attr.Runtime = uint64(shortSlice)
	return unix.SchedSetAttr(tid, attr, 0)
}
