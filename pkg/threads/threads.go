// Package threads tells the kernel how to schedule this process's threads.
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
	if err := each(soon); err != nil {
		return fmt.Errorf("shorten the threads' slices: %w", err)
	}
	return nil
}

// Nice gives every thread of this process that nice value, -20 to 19. A lower
// one than it has needs CAP_SYS_NICE. Threads that are started later inherit
// it.
func Nice(value int) error {
	err := each(func(tid int) error { return unix.Setpriority(unix.PRIO_PROCESS, tid, value) })
	if err != nil {
		return fmt.Errorf("set the threads' nice value to %d: %w", value, err)
	}
	return nil
}

// each calls set with the id of every thread of this process, until it fails. A
// thread may end meanwhile.
func each(set func(tid int) error) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := set(tid); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
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
