package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/procfs"
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
	online, err := procfs.ReadFile(path)
	if err != nil {
		return size.Host{}, fmt.Errorf("read node's CPUs: %w", err)
	}
	cpus, err := cgroup.ParseCPUList(online)
	if err != nil {
		return size.Host{}, fmt.Errorf("parse %s: %w", path, err)
	}
	path = filepath.Join(n.Proc, "meminfo")
	meminfo, err := procfs.ReadFile(path)
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
	stat, err := procfs.ReadStat(n.Proc, pid)
	if err != nil {
		return 0, nil, err
	}
	path := filepath.Join(n.Proc, strconv.Itoa(pid), "cgroup")
	groups, err := procfs.ReadFile(path)
	if err != nil {
		return 0, nil, fmt.Errorf("read process: %w", err)
	}
	if paths, err = cgroup.ParseProcCgroup(groups); err != nil {
		return 0, nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return stat.Start, paths, nil
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
	pid, start, err := procfs.Oldest(n.Proc, pids)
	if err != nil || pid == 0 {
		return 0, 0, err
	}
	return pid, procfs.SinceBoot() - procfs.Ticks(start), nil
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
		groups, err := procfs.ReadFile(filepath.Join(n.Proc, name, "cgroup"))
		if err == nil && bytes.Contains(groups, []byte(id)) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// BootID returns the kernel's id of this boot.
func BootID(proc string) (string, error) {
	data, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return string(bytes.TrimSpace(data)), nil
}
