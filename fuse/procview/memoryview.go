package procview

import (
	"math"
	"strings"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/size"
)

// A memoryView is a reading of a cgroup's memory, cut to what fits into the
// container: an annotation may show less than the cgroup may use, and the
// kernel counts in batches, so no value may be taken for consistent.
type memoryView struct {
	cgroup.Memory
	total, used, available uint64
	swap, swapUsed         uint64
	hugeTotal, hugeUsed    uint64 // pages
	hugePage               uint64 // bytes
}

func newMemoryView(m *Meminfo, mem cgroup.Memory, huge cgroup.HugePages) memoryView {
	v := memoryView{Memory: mem, total: m.size.Memory, swap: m.size.Swap, hugePage: m.hugePage}
	v.used = min(mem.Usage, v.total)
	v.swapUsed = min(mem.SwapUsage, v.swap)

	// What the kernel could take back without swapping: see si_mem_available
	// in mm/page_alloc.c, less the watermarks, which a cgroup has not.
	reclaimable := min(mem.ActiveFile+mem.InactiveFile+mem.SlabReclaimable, mem.Usage)
	v.available = v.total - min(v.total, mem.Usage-reclaimable)

	if m.hugePage > 0 && huge.Limit > 0 {
		v.hugeTotal = min(m.hugePages, huge.Limit/m.hugePage)
		v.hugeUsed = min(huge.Usage/m.hugePage, v.hugeTotal)
	}
	v.cut()
	return v
}

// cut bounds each part by what is in use.
func (v *memoryView) cut() {
	for _, p := range [...]*uint64{
		&v.File, &v.Anon, &v.Shmem, &v.FileMapped, &v.AnonTHP, &v.ShmemTHP, &v.FileTHP,
		&v.ActiveAnon, &v.InactiveAnon, &v.ActiveFile, &v.InactiveFile, &v.Unevictable,
		&v.Dirty, &v.Writeback, &v.SwapCached, &v.Kernel, &v.KernelStack, &v.PageTables,
		&v.SecPageTables, &v.Percpu, &v.Sock, &v.Vmalloc, &v.Zswap,
		&v.Slab, &v.SlabReclaimable, &v.SlabUnreclaimable,
	} {
		*p = min(*p, v.used)
	}
	v.Zswapped = min(v.Zswapped, v.swapUsed)
}

// slabUnreclaimable is kernel memory as a whole where the kernel does not
// divide it (v1): it is memory, and cannot be counted on.
func (v *memoryView) slabUnreclaimable() uint64 {
	if v.SlabUnreclaimable == 0 && v.SlabReclaimable == 0 && v.KernelStack == 0 {
		return v.Kernel
	}
	return v.SlabUnreclaimable
}

// cached is the page cache, and never more than use leaves beside the reclaimable
// slab: free(1) subtracts both from the total. The swap cache, which the kernel
// takes off a node's count of file pages, is not in a cgroup's (mm/swap_state.c).
func (v *memoryView) cached() uint64 { return min(v.File, v.used-v.SlabReclaimable) }

// committed is what is certainly committed: the kernel does not count the
// address space of a cgroup.
func (v *memoryView) committed() uint64 { return min(v.Anon+v.Shmem+v.swapUsed, v.total+v.swap) }

// meminfoFields returns how a line is computed, nil for one that is fixed.
func meminfoFields(name string) meminfoField {
	switch name {
	case "MemTotal":
		return func(v *memoryView) uint64 { return v.total }
	case "MemFree":
		return func(v *memoryView) uint64 { return v.total - v.used }
	case "MemAvailable":
		return func(v *memoryView) uint64 { return v.available }
	case "Cached":
		return (*memoryView).cached
	case "SwapCached":
		return func(v *memoryView) uint64 { return v.SwapCached }
	case "SwapTotal":
		return func(v *memoryView) uint64 { return v.swap }
	case "SwapFree":
		return func(v *memoryView) uint64 { return v.swap - v.swapUsed }
	case "Zswap":
		return func(v *memoryView) uint64 { return v.Zswap }
	case "Zswapped":
		return func(v *memoryView) uint64 { return v.Zswapped }
	case "Dirty":
		return func(v *memoryView) uint64 { return v.Dirty }
	case "Writeback":
		return func(v *memoryView) uint64 { return v.Writeback }
	case "AnonPages":
		return func(v *memoryView) uint64 { return v.Anon }
	case "Mapped":
		return func(v *memoryView) uint64 { return v.FileMapped }
	case "Shmem":
		return func(v *memoryView) uint64 { return v.Shmem }
	case "Committed_AS":
		return (*memoryView).committed
	}
	if f := lruFields(name); f != nil {
		return f
	}
	if f := kernelFields(name); f != nil {
		return f
	}
	return hugeFields(name)
}

// lruFields are the lists of pages. Mlocked has no counter in a cgroup;
// almost all that cannot be evicted is locked.
func lruFields(name string) meminfoField {
	switch name {
	case "Active":
		return func(v *memoryView) uint64 { return min(v.ActiveAnon+v.ActiveFile, v.used) }
	case "Inactive":
		return func(v *memoryView) uint64 { return min(v.InactiveAnon+v.InactiveFile, v.used) }
	case "Active(anon)":
		return func(v *memoryView) uint64 { return v.ActiveAnon }
	case "Inactive(anon)":
		return func(v *memoryView) uint64 { return v.InactiveAnon }
	case "Active(file)":
		return func(v *memoryView) uint64 { return v.ActiveFile }
	case "Inactive(file)":
		return func(v *memoryView) uint64 { return v.InactiveFile }
	case "Unevictable", "Mlocked":
		return func(v *memoryView) uint64 { return v.Unevictable }
	}
	return nil
}

// kernelFields are the kernel's own memory.
func kernelFields(name string) meminfoField {
	switch name {
	case "KReclaimable", "SReclaimable":
		return func(v *memoryView) uint64 { return v.SlabReclaimable }
	case "SUnreclaim":
		return (*memoryView).slabUnreclaimable
	case "Slab":
		return func(v *memoryView) uint64 { return min(v.SlabReclaimable+v.slabUnreclaimable(), v.used) }
	case "KernelStack":
		return func(v *memoryView) uint64 { return v.KernelStack }
	case "PageTables":
		return func(v *memoryView) uint64 { return v.PageTables }
	case "SecPageTables":
		return func(v *memoryView) uint64 { return v.SecPageTables }
	case "VmallocUsed":
		return func(v *memoryView) uint64 { return v.Vmalloc }
	case "Percpu":
		return func(v *memoryView) uint64 { return v.Percpu }
	}
	return nil
}

// hugeFields are transparent huge pages (bytes) and those of hugetlb (pages).
func hugeFields(name string) meminfoField {
	switch name {
	case "AnonHugePages":
		return func(v *memoryView) uint64 { return v.AnonTHP }
	case "ShmemHugePages":
		return func(v *memoryView) uint64 { return v.ShmemTHP }
	case "FileHugePages":
		return func(v *memoryView) uint64 { return v.FileTHP }
	case "HugePages_Total":
		return func(v *memoryView) uint64 { return v.hugeTotal }
	case "HugePages_Free":
		return func(v *memoryView) uint64 { return v.hugeTotal - v.hugeUsed }
	case "Hugetlb":
		return func(v *memoryView) uint64 { return v.hugeTotal * v.hugePage }
	}
	return nil
}

// fixedMeminfo is the value, as shown, of a line that no reading changes:
// constants of the kernel, and 0 for all that a container has not.
func fixedMeminfo(h hostMeminfo, l hostLine, s size.Size) uint64 {
	switch l.name {
	case "CommitLimit":
		return commitLimit(h, s) / kB
	case "VmallocTotal", "Hugepagesize":
		return l.value
	}
	if strings.HasPrefix(l.name, "DirectMap") {
		return directMap(h, l.name, s.Memory) / kB
	}
	return 0
}

// commitLimit applies the host's overcommit ratio (vm.overcommit_ratio, in
// percent), as its own CommitLimit tells it, to the container's memory, in
// bytes. See vm_commit_limit in mm/util.c.
func commitLimit(h hostMeminfo, s size.Size) uint64 {
	limit, swap := h.value("CommitLimit"), h.value("SwapTotal")
	limit -= min(limit, swap)
	total, huge := h.value("MemTotal"), h.value("Hugetlb")
	total -= min(total, huge)
	ratio := math.Round(100 * float64(limit) / float64(max(1, total)))
	return uint64(float64(s.Memory)/100*min(ratio, maxRatio)) + s.Swap
}

// maxRatio bounds the overcommit ratio, in percent: more says nothing.
const maxRatio = 1000

// directMap maps the memory with the largest pages first, as the kernel does
// at boot, and returns the part of the line's page size, in bytes.
func directMap(h hostMeminfo, name string, memory uint64) uint64 {
	page := directMapPage(name)
	if page == 0 {
		return 0
	}
	left := memory
	larger, smaller := uint64(0), false
	for _, l := range h {
		if p := directMapPage(l.name); p > page && (larger == 0 || p < larger) {
			larger = p
		} else if p != 0 && p < page {
			smaller = true
		}
	}
	if larger > 0 {
		left %= larger
	}
	if smaller {
		left -= left % page
	}
	return left
}

// directMapPage is the page size in a line's name, "DirectMap2M", in bytes.
func directMapPage(name string) uint64 {
	s, ok := strings.CutPrefix(name, "DirectMap")
	if !ok || len(s) < 2 {
		return 0
	}
	n, ok := parseUint([]byte(s[:len(s)-1]))
	if !ok || n == 0 || n > 1<<20 {
		return 0
	}
	switch s[len(s)-1] {
	case 'k':
		return n << 10
	case 'M':
		return n << 20
	case 'G':
		return n << 30
	}
	return 0
}
