// Package procfs reads what the kernel tells of processes: /proc/PID/stat, in
// proc_pid_stat(5).
package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Tick is the unit of times in /proc (1 s / USER_HZ), the same on every
// architecture.
const Tick = 10 * time.Millisecond

// ErrFormat says that a file of the kernel's does not read as it should.
var ErrFormat = errors.New("unexpected format")

// A Stat is what a process's or a thread's stat says, as far as anybody here asks.
type Stat struct {
	State  byte   // a letter: R runs, S sleeps, D waits for a disk, Z has ended
	Parent int    // 0: none in the reader's pid namespace
	Start  uint64 // in clock ticks since boot
}

// ParseStat parses a stat. The error wraps [ErrFormat].
func ParseStat(data []byte) (Stat, error) {
	const state, parent, start = 3, 4, 22 // numbers of the fields
	at := afterName(data)
	if at < 0 {
		return Stat{}, fmt.Errorf("%w: no process's stat: %.64q", ErrFormat, data)
	}
	s := Stat{State: data[at]}
	number := state
	for field := range bytes.FieldsSeq(data[at:]) {
		var err error
		switch number {
		case parent:
			s.Parent, err = strconv.Atoi(string(field))
		case start:
			s.Start, err = strconv.ParseUint(string(field), 10, 64)
		}
		switch {
		case err != nil:
			return Stat{}, fmt.Errorf("%w: field %d of a process's stat: %.64q", ErrFormat, number, field)
		case number == start:
			return s, nil
		}
		number++
	}
	return Stat{}, fmt.Errorf("%w: a process's stat of %d fields: want %d", ErrFormat, number-1, start)
}

// afterName returns where the third field begins, -1 when there is none. The
// name, the second, is in parentheses and may hold anything, so the last of
// them ends it.
func afterName(data []byte) int {
	for i := len(data) - 3; i > 0; i-- {
		if data[i] == ')' && data[i+1] == ' ' {
			return i + 2
		}
	}
	return -1
}

// ReadStat reads the stat of a process below root, which is /proc. The error
// wraps [fs.ErrNotExist] when it has ended.
func ReadStat(root string, pid int) (Stat, error) {
	path := filepath.Join(root, strconv.Itoa(pid), "stat")
	data, err := ReadFile(path)
	if err != nil {
		return Stat{}, fmt.Errorf("read process: %w", err)
	}
	s, err := ParseStat(data)
	if err != nil {
		return Stat{}, fmt.Errorf("read process: %s: %w", path, err)
	}
	return s, nil
}

// Oldest returns the process of pids that started first and when, in clock
// ticks; of the same tick, one that is nobody's child among them. Those that
// have ended do not count; pid is 0 when there is no other.
func Oldest(root string, pids []int) (pid int, start uint64, err error) {
	oldest := make(map[int]int) // and their parents
	for _, p := range pids {
		s, err := ReadStat(root, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		if len(oldest) > 0 && s.Start < start {
			clear(oldest)
		}
		if len(oldest) == 0 || s.Start == start {
			oldest[p], start = s.Parent, s.Start
		}
	}
	for p, parent := range oldest {
		if _, child := oldest[parent]; !child {
			return p, start, nil
		}
	}
	return 0, 0, nil
}

// ReadFile reads a file of the kernel's. [os.ReadFile] would register it with
// Go's poller, which costs more than reading it. Of a process that ends
// meanwhile the error wraps [fs.ErrNotExist].
func ReadFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	data := make([]byte, 0, 4096)
	for {
		n, err := unix.Read(fd, data[len(data):cap(data)])
		switch {
		case err == unix.EINTR:
		case err == unix.ESRCH:
			return nil, &os.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return data, nil
		default:
			data = data[:len(data)+n]
		}
		if len(data) == cap(data) {
			data = slices.Grow(data, cap(data))
		}
	}
}

// Ticks is the duration of so many clock ticks.
func Ticks(n uint64) time.Duration { return time.Duration(n) * Tick }

// SinceBoot is the time since boot including suspension (CLOCK_BOOTTIME), from
// which process start times and /proc/uptime count.
func SinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // fails for bad clocks only
	return time.Duration(ts.Nano())
}
