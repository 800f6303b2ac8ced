package lifecycle

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

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/size"
)

// A Node is the [Kernel] of this machine.
type Node struct {
	*cgroup.FS
	// Proc and Sys are the mounts of those names.
	Proc, Sys string
	// CPUManagerState is the kubelet's checkpoint of its CPU manager.
	CPUManagerState string
}

var _ Kernel = Node{}

// Host returns the node's online CPUs, memory and swap.
func (n Node) Host() (size.Host, error) {
	path := filepath.Join(n.Sys, "devices/system/cpu/online")
	online, err := readFile(path)
	if err != nil {
		return size.Host{}, fmt.Errorf("read node's CPUs: %w", err)
	}
	cpus, err := cgroup.ParseCPUList(online)
	if err != nil {
		return size.Host{}, fmt.Errorf("parse %s: %w", path, err)
	}
	path = filepath.Join(n.Proc, "meminfo")
	meminfo, err := readFile(path)
	if err != nil {
		return size.Host{}, fmt.Errorf("read node's memory: %w", err)
	}
	memory, swap, err := parseMeminfo(meminfo)
	if err != nil {
		return size.Host{}, fmt.Errorf("parse %s: %w", path, err)
	}
	return size.Host{CPUs: len(cpus), Memory: memory, Swap: swap}, nil
}

// PossibleCPUs returns the number of CPUs the node can ever have.
func (n Node) PossibleCPUs() (int, error) {
	path := filepath.Join(n.Sys, "devices/system/cpu/possible")
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read node's possible CPUs: %w", err)
	}
	cpus, err := cgroup.ParseCPUList(data)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", path, err)
	}
	return len(cpus), nil
}

// readFile reads a file of the kernel's. os.ReadFile would register it with
// Go's poller, which costs more than reading it.
func readFile(path string) ([]byte, error) {
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

// parseMeminfo returns MemTotal and SwapTotal in bytes. See proc_meminfo(5).
func parseMeminfo(data []byte) (memory, swap uint64, err error) {
	for line := range bytes.Lines(data) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		var to *uint64
		switch string(key) {
		case "MemTotal":
			to = &memory
		case "SwapTotal":
			to = &swap
		default:
			continue
		}
		fields := bytes.Fields(value)
		if len(fields) != 2 || string(fields[1]) != "kB" {
			return 0, 0, fmt.Errorf("line %.64q: want a number of kB", line)
		}
		kib, err := strconv.ParseUint(string(fields[0]), 10, 54)
		if err != nil {
			return 0, 0, fmt.Errorf("line %.64q: %w", line, err)
		}
		*to = kib << 10
	}
	if memory == 0 {
		return 0, 0, errors.New("it has no MemTotal")
	}
	return memory, swap, nil
}

// Process implements [Kernel].
func (n Node) Process(pid int) (startTicks uint64, paths map[string]string, err error) {
	dir := filepath.Join(n.Proc, strconv.Itoa(pid))
	stat, err := readProc(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, nil, err
	}
	if startTicks, err = statField(stat, fieldStart); err != nil {
		return 0, nil, fmt.Errorf("parse %s/stat: %w", dir, err)
	}
	groups, err := readProc(filepath.Join(dir, "cgroup"))
	if err != nil {
		return 0, nil, err
	}
	if paths, err = cgroup.ParseProcCgroup(groups); err != nil {
		return 0, nil, fmt.Errorf("parse %s/cgroup: %w", dir, err)
	}
	return startTicks, paths, nil
}

// maxProcesses bounds how many processes of a container First looks at: as many
// as a kernel has ids by default.
const maxProcesses = 1 << 15

// First implements [Kernel].
func (n Node) First(id string, paths map[string]string) (pid int, age time.Duration, err error) {
	var pids []int
	if paths != nil {
		pids, err = n.Processes(paths, maxProcesses)
	} else {
		pids, err = n.named(id)
	}
	if err != nil {
		return 0, 0, err
	}
	oldest, start := make(map[int]int), uint64(0) // and their parents; in ticks
	for _, p := range pids {
		stat, err := readProc(filepath.Join(n.Proc, strconv.Itoa(p), "stat"))
		if err != nil {
			continue // ended meanwhile
		}
		ticks, err := statField(stat, fieldStart)
		parent, perr := statField(stat, fieldParent)
		if err := errors.Join(err, perr); err != nil {
			return 0, 0, fmt.Errorf("parse %s/%d/stat: %w", n.Proc, p, err)
		}
		if len(oldest) > 0 && ticks < start {
			clear(oldest)
		}
		if len(oldest) == 0 || ticks == start {
			oldest[p], start = int(parent), ticks
		}
	}
	// What the init has started may be of the same tick.
	for p, parent := range oldest {
		if _, child := oldest[parent]; !child {
			return p, boottime() - time.Duration(start)*tick, nil
		}
	}
	return 0, 0, nil
}

// tick is the unit of times in /proc, on every architecture (USER_HZ).
const tick = 10 * time.Millisecond

// boottime is the time since boot, which process start times count from.
func boottime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // fails for bad clocks only
	return time.Duration(ts.Nano())
}

// minNamedID is the shortest id by which a cgroup is looked for: those of the
// CRI have 64 digits.
const minNamedID = 32

// named returns the processes of the cgroups that have the container's id in
// their names, as those of all runtimes do.
func (n Node) named(id string) (pids []int, err error) {
	if len(id) < minNamedID {
		return nil, fmt.Errorf("%w: of container %q, and its id is too short to look for", cgroup.ErrBadPath, id)
	}
	dir, err := os.Open(n.Proc)
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		groups, err := readProc(filepath.Join(n.Proc, name, "cgroup"))
		if err == nil && bytes.Contains(groups, []byte(id)) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// readProc reads a file of a process. One that ends meanwhile does not exist.
func readProc(path string) ([]byte, error) {
	data, err := readFile(path)
	if errors.Is(err, unix.ESRCH) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("read process: %w", err)
	}
	return data, nil
}

// Fields of /proc/PID/stat, by their numbers in proc_pid_stat(5).
const (
	fieldParent = 4
	fieldStart  = 22
)

// statField returns a field of /proc/PID/stat. The name, field 2, may hold
// anything, so fields count from its last parenthesis.
func statField(stat []byte, number int) (uint64, error) {
	number -= 3 // the first field after the name is the third
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, fmt.Errorf("%.64q has no process name", stat)
	}
	fields := bytes.Fields(stat[i+1:])
	if len(fields) <= number {
		return 0, fmt.Errorf("%d fields after the name: want more than %d", len(fields), number)
	}
	n, err := strconv.ParseUint(string(fields[number]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("field %d: %w", number+3, err)
	}
	return n, nil
}

// BootID returns the kernel's id of this boot.
func BootID(proc string) (string, error) {
	data, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return string(bytes.TrimSpace(data)), nil
}
