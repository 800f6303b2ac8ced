package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"

	"github.com/truesize/truesize/pkg/size"
)

// noLimitV1 is the least memory limit of v1 that is none: the kernel writes
// LONG_MAX rounded down to a page, whose size differs.
const noLimitV1 = 1 << 60

// Limits reads the effective limits of a cgroup that need not exist yet: where
// it or an ancestor does not, the others count. The error wraps ErrBadPath for
// paths that cannot be.
func (f *FS) Limits(paths map[string]string) (size.Limits, error) {
	var l size.Limits
	buf := f.bufs.get()
	defer f.bufs.put(buf)
	for _, part := range []struct {
		controller string
		read       func(*hierarchy, string, *[]byte, *size.Limits) error
	}{
		{"cpu", cpuLimit}, {"cpuset", cpusetLimit}, {"memory", memoryLimit},
	} {
		h := f.byController[part.controller]
		if h == nil {
			continue
		}
		p, err := h.path(paths)
		if err != nil {
			return size.Limits{}, err
		}
		if err := part.read(h, p, buf, &l); err != nil {
			return size.Limits{}, err
		}
	}
	return l, nil
}

// readAt reads a file of the directory. ok is false where the kernel does not
// have it (the root has no limits), or where the cgroup has just gone.
func readAt(dirfd int, dir, name string, buf *[]byte) (data []byte, ok bool, err error) {
	f, err := openFile(dirfd, dir, name)
	if err != nil {
		return nil, false, err
	}
	defer f.close()
	data, err = f.read(buf)
	if errors.Is(err, ErrNoController) {
		return nil, false, nil
	}
	return data, err == nil, err
}

// cpuLimit takes the smallest quota over period.
func cpuLimit(h *hierarchy, p string, buf *[]byte, l *size.Limits) error {
	return h.ancestors(p, func(dirfd int, dir string) error {
		read := readQuotaV1
		if h.v2 {
			read = readCPUMax
		}
		milli, err := read(dirfd, dir, buf)
		if err != nil {
			return err
		}
		if milli > 0 && (l.CPUMilli == 0 || milli < l.CPUMilli) {
			l.CPUMilli = milli
		}
		return nil
	})
}

func readCPUMax(dirfd int, dir string, buf *[]byte) (int64, error) {
	data, ok, err := readAt(dirfd, dir, "cpu.max", buf)
	if err != nil || !ok {
		return 0, err
	}
	milli, err := parseCPUMax(data)
	if err != nil {
		return 0, fmt.Errorf("parse %s/cpu.max: %w", dir, err)
	}
	return milli, nil
}

// parseCPUMax reads "max 100000" (0, no limit) or "150000 100000", into
// thousandths of a CPU.
func parseCPUMax(data []byte) (int64, error) {
	first, second := cutField(bytes.TrimSuffix(data, []byte("\n")))
	quota, err := parseMax(first)
	period, ok := parseUint(second)
	if err != nil || !ok || period == 0 {
		return 0, fmt.Errorf("%w: %.64q", errFormat, data)
	}
	if quota == NoLimit {
		return 0, nil
	}
	return milliCPUs(quota, period), nil
}

func readQuotaV1(dirfd int, dir string, buf *[]byte) (int64, error) {
	data, ok, err := readAt(dirfd, dir, "cpu.cfs_quota_us", buf)
	if err != nil || !ok {
		return 0, err
	}
	quota, err := parseInt(data)
	if err != nil {
		return 0, fmt.Errorf("parse %s/cpu.cfs_quota_us: %w", dir, err)
	}
	if quota <= 0 {
		return 0, nil
	}
	data, ok, err = readAt(dirfd, dir, "cpu.cfs_period_us", buf)
	if err != nil || !ok {
		return 0, err
	}
	period, err := parseValue(data)
	if err != nil || period == 0 {
		return 0, fmt.Errorf("parse %s/cpu.cfs_period_us: %w: %.64q", dir, errFormat, data)
	}
	return milliCPUs(uint64(quota), period), nil
}

// milliCPUs is quota over period in thousandths, rounded up so that a limit a
// little over a whole number of CPUs stays over it.
func milliCPUs(quota, period uint64) int64 {
	hi, lo := bits.Mul64(quota, 1000)
	if hi >= period {
		return 1<<63 - 1
	}
	n, rem := bits.Div64(hi, lo, period)
	if rem > 0 {
		n++
	}
	return int64(min(n, 1<<63-1))
}

func cpusetFile(v2 bool) string {
	if v2 {
		return "cpuset.cpus.effective"
	}
	return "cpuset.effective_cpus"
}

// cpusetLimit takes the number of CPUs of the effective cpuset.
func cpusetLimit(h *hierarchy, p string, buf *[]byte, l *size.Limits) error {
	cpus, err := effectiveCPUs(h, p, buf)
	l.CPUSet = len(cpus)
	return err
}

// effectiveCPUs returns the effective cpuset of the nearest directory that has
// one: the kernel has already cut it to the ancestors'.
func effectiveCPUs(h *hierarchy, p string, buf *[]byte) (cpus []int, err error) {
	err = h.ancestors(p, func(dirfd int, dir string) error {
		if len(cpus) > 0 {
			return nil
		}
		data, ok, err := readAt(dirfd, dir, cpusetFile(h.v2), buf)
		if err != nil || !ok {
			return err
		}
		cpus, err = ParseCPUList(data)
		if err != nil {
			return fmt.Errorf("parse %s/%s: %w", dir, cpusetFile(h.v2), err)
		}
		return nil
	})
	return cpus, err
}

// CPUs returns the CPUs on which the processes of a cgroup may run, ascending.
// Where it does not exist yet those of its nearest ancestor count. The error
// wraps ErrNoController where nothing limits CPUs, and ErrBadPath.
func (f *FS) CPUs(paths map[string]string) ([]int, error) {
	h := f.byController["cpuset"]
	if h == nil {
		return nil, fmt.Errorf("read CPUs: %w", ErrNoController)
	}
	p, err := h.path(paths)
	if err != nil {
		return nil, err
	}
	buf := f.bufs.get()
	defer f.bufs.put(buf)
	cpus, err := effectiveCPUs(h, p, buf)
	if err == nil && len(cpus) == 0 {
		err = fmt.Errorf("read CPUs of %s%s: %w", h.dir, p, ErrNoController)
	}
	return cpus, err
}

// memoryLimit takes the smallest memory and swap limits.
func memoryLimit(h *hierarchy, p string, buf *[]byte, l *size.Limits) error {
	m := memoryLimits{memory: NoLimit, swap: NoLimit, memsw: NoLimit}
	read := m.readV1
	if h.v2 {
		read = m.readV2
	}
	err := h.ancestors(p, func(dirfd int, dir string) error { return read(dirfd, dir, buf) })
	if err != nil {
		return err
	}
	if m.memory != NoLimit {
		l.Memory = m.memory
	}
	l.SwapAccounting = m.accounting
	if m.memsw != NoLimit {
		// v1 limits memory and swap together: what memory leaves is swap.
		l.Memory = min(m.memory, m.memsw)
		m.swap = m.memsw - l.Memory
	}
	if m.swap != NoLimit {
		l.Swap, l.HasSwap = m.swap, true
	}
	return nil
}

// memoryLimits gathers the smallest limits, NoLimit for none.
type memoryLimits struct {
	memory, swap, memsw uint64
	accounting          bool // of swap
	hierarchical        bool // the kernel's own minimum has been read
}

func (m *memoryLimits) readV2(dirfd int, dir string, buf *[]byte) error {
	if _, err := smallest(dirfd, dir, "memory.max", buf, &m.memory); err != nil {
		return err
	}
	ok, err := smallest(dirfd, dir, "memory.swap.max", buf, &m.swap)
	m.accounting = m.accounting || ok
	return err
}

// smallest lowers *limit to what the file says; ok is false without a file.
func smallest(dirfd int, dir, name string, buf *[]byte, limit *uint64) (ok bool, err error) {
	data, ok, err := readAt(dirfd, dir, name, buf)
	if err != nil || !ok {
		return false, err
	}
	n, err := parseMax(data)
	if err != nil {
		return false, fmt.Errorf("parse %s/%s: %w", dir, name, err)
	}
	*limit = min(*limit, n)
	return true, nil
}

// readV1 reads a directory's own limits, and of the nearest one the smallest
// of its ancestors', as the kernel applies them: those above what is mounted
// here count too. memory.stat is the one file of these that costs the kernel
// something, so it is read once.
func (m *memoryLimits) readV1(dirfd int, dir string, buf *[]byte) error {
	if !m.hierarchical {
		data, ok, err := readAt(dirfd, dir, "memory.stat", buf)
		if err != nil || !ok {
			return err
		}
		if err := m.parseHierarchical(data); err != nil {
			return fmt.Errorf("parse %s/memory.stat: %w", dir, err)
		}
		m.hierarchical = true
	}
	memory, memsw := uint64(NoLimit), uint64(NoLimit)
	if _, err := smallest(dirfd, dir, "memory.limit_in_bytes", buf, &memory); err != nil {
		return err
	}
	ok, err := smallest(dirfd, dir, "memory.memsw.limit_in_bytes", buf, &memsw)
	m.accounting = m.accounting || ok
	m.lower(memory, memsw)
	return err
}

// parseHierarchical reads the lines of v1's memory.stat that hold the smallest
// limits of the ancestors, as the kernel applies them.
func (m *memoryLimits) parseHierarchical(data []byte) error {
	for len(data) > 0 {
		var line []byte
		line, data = cutLine(data)
		key, value := cutField(line)
		n, ok := parseUint(value)
		if !ok {
			return fmt.Errorf("%w: line %.64q", errFormat, line)
		}
		switch string(key) {
		case "hierarchical_memory_limit":
			m.lower(n, NoLimit)
		case "hierarchical_memsw_limit":
			m.lower(NoLimit, n)
		}
	}
	return nil
}

func (m *memoryLimits) lower(memory, memsw uint64) {
	if memory < noLimitV1 {
		m.memory = min(m.memory, memory)
	}
	if memsw < noLimitV1 {
		m.memsw = min(m.memsw, memsw)
	}
}

// hugePages reads the usage of the cgroup and the smallest limit.
func (f *FS) hugePages(paths map[string]string, pageSize uint64) (HugePages, error) {
	h := f.byController["hugetlb"]
	if h == nil {
		return HugePages{}, fmt.Errorf("read huge pages: %w", ErrNoController)
	}
	p, err := h.path(paths)
	if err != nil {
		return HugePages{}, err
	}
	limit, usage := ".limit_in_bytes", ".usage_in_bytes"
	if h.v2 {
		limit, usage = ".max", ".current"
	}
	prefix := "hugetlb." + hugePageName(pageSize)
	buf := f.bufs.get()
	defer f.bufs.put(buf)
	out, first, found := HugePages{Limit: NoLimit}, true, false
	err = h.ancestors(p, func(dirfd int, dir string) error {
		if first {
			first, out.Usage = false, NoLimit
			if found, err = smallest(dirfd, dir, prefix+usage, buf, &out.Usage); err != nil {
				return err
			}
		}
		_, err := smallest(dirfd, dir, prefix+limit, buf, &out.Limit)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("read %s%s: %w", prefix, usage, ErrNoController)
	}
	if err != nil {
		return HugePages{}, err
	}
	if out.Limit >= noLimitV1 {
		out.Limit = NoLimit
	}
	return out, nil
}
