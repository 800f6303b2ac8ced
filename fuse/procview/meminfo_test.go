package procview

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/size"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// busyV2 is a container of 1 GiB as v2 tells it, busyV1 as v1 does.
var (
	busyV2 = cgroup.Memory{
		Usage: 600 * mib, SwapUsage: 10 * mib, File: 300 * mib, Anon: 200 * mib, Shmem: 20 * mib,
		FileMapped: 50 * mib, AnonTHP: 4 * mib, ShmemTHP: 2 * mib, FileTHP: 6 * mib,
		ActiveAnon: 150 * mib, InactiveAnon: 70 * mib, ActiveFile: 100 * mib, InactiveFile: 180 * mib,
		Unevictable: 3 * mib, Dirty: 5 * mib, Writeback: mib, SwapCached: 2 * mib,
		Kernel: 90 * mib, KernelStack: mib, PageTables: 3 * mib, SecPageTables: 12 << 10, Percpu: 2 * mib, Sock: mib,
		Vmalloc: 7 * mib, Zswap: mib, Zswapped: 3 * mib,
		Slab: 80 * mib, SlabReclaimable: 60 * mib, SlabUnreclaimable: 20 * mib,
	}
	busyV1 = cgroup.Memory{
		Usage: 600 * mib, SwapUsage: 10 * mib, File: 300 * mib, Anon: 200 * mib, Shmem: 20 * mib,
		FileMapped: 50 * mib, AnonTHP: 4 * mib, ActiveAnon: 150 * mib, InactiveAnon: 70 * mib,
		ActiveFile: 100 * mib, InactiveFile: 180 * mib, Unevictable: 3 * mib, Dirty: 5 * mib, Writeback: mib,
		SwapCached: 2 * mib, Kernel: 90 * mib,
	}
)

func newMeminfo(t testing.TB, kernel string, s size.Size) *Meminfo {
	t.Helper()
	m, err := NewMeminfo(host(t, kernel, "meminfo"), s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMeminfoGolden(t *testing.T) {
	for _, kernel := range []string{"6.18-x86", "6.1-x86", "5.10-x86"} {
		for version, mem := range map[string]cgroup.Memory{"v1": busyV1, "v2": busyV2} {
			name := fmt.Sprintf("meminfo-%s-%s", kernel, version)
			t.Run(name, func(t *testing.T) {
				m := newMeminfo(t, kernel, size.Size{CPUs: 2, Memory: gib, Swap: 64 * mib})
				got := m.Append(nil, mem, cgroup.HugePages{})
				sized(t, got, m.Size())
				golden(t, name, got)
			})
		}
	}
}

// fields parses a meminfo: kB as bytes.
func fields(t testing.TB, data []byte) map[string]uint64 {
	t.Helper()
	out := make(map[string]uint64)
	for line := range strings.Lines(string(data)) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || len(f) == 0 {
			t.Fatalf("line %q", line)
		}
		n, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if len(f) == 2 {
			n *= 1024
		}
		out[name] = n
	}
	return out
}

// The names and their order are the kernel's, whatever the kernel.
func TestMeminfoKeepsTheHostsLines(t *testing.T) {
	names := func(data []byte) (list []string) {
		for line := range strings.Lines(string(data)) {
			name, _, _ := strings.Cut(line, ":")
			list = append(list, name)
		}
		return list
	}
	for _, kernel := range []string{"6.18-x86", "6.1-x86", "5.10-x86"} {
		m := newMeminfo(t, kernel, size.Size{CPUs: 1, Memory: gib})
		got, want := names(m.Append(nil, busyV2, cgroup.HugePages{})), names(host(t, kernel, "meminfo"))
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %v", kernel, got)
		}
	}
}

func TestMeminfoEdges(t *testing.T) {
	tests := []struct {
		name string
		size size.Size
		mem  cgroup.Memory
		want map[string]uint64
	}{
		{"unused", size.Size{Memory: gib, Swap: mib}, cgroup.Memory{},
			map[string]uint64{"MemTotal": gib, "MemFree": gib, "MemAvailable": gib, "SwapTotal": mib, "SwapFree": mib, "Cached": 0}},
		{"usage above the limit does not wrap", size.Size{Memory: gib}, cgroup.Memory{Usage: 2 * gib, Anon: 2 * gib},
			map[string]uint64{"MemFree": 0, "MemAvailable": 0, "AnonPages": gib}},
		{"all of it is cache", size.Size{Memory: gib}, cgroup.Memory{Usage: gib, File: gib, InactiveFile: gib},
			map[string]uint64{"MemFree": 0, "MemAvailable": gib, "Cached": gib}},
		{"available is never above the total", size.Size{Memory: gib}, cgroup.Memory{Usage: 100, File: gib, InactiveFile: gib, ActiveFile: gib},
			map[string]uint64{"MemAvailable": gib}},
		{"shown size below the usage: what cannot be reclaimed counts", size.Size{Memory: gib},
			cgroup.Memory{Usage: 2 * gib, Anon: 512 * mib, File: 1536 * mib, InactiveFile: 1536 * mib},
			map[string]uint64{"MemFree": 0, "MemAvailable": 512 * mib, "Cached": gib}},
		{"swap cache is no page cache", size.Size{Memory: gib}, cgroup.Memory{Usage: 10 * mib, File: 5 * mib, SwapCached: 7 * mib},
			map[string]uint64{"Cached": 5 * mib, "SwapCached": 7 * mib}},
		{"swap used beyond the swap shown", size.Size{Memory: gib, Swap: mib}, cgroup.Memory{SwapUsage: 2 * mib},
			map[string]uint64{"SwapTotal": mib, "SwapFree": 0}},
		{"no swap shown", size.Size{Memory: gib}, cgroup.Memory{SwapUsage: 2 * mib},
			map[string]uint64{"SwapTotal": 0, "SwapFree": 0}},
		{"v1 does not divide kernel memory", size.Size{Memory: gib}, cgroup.Memory{Usage: 9 * mib, Kernel: 9 * mib},
			map[string]uint64{"Slab": 9 * mib, "SUnreclaim": 9 * mib, "SReclaimable": 0, "MemAvailable": gib - 9*mib}},
		{"memory of 3 GiB and a half in pages", size.Size{Memory: 3*gib + 512*mib + 8192}, cgroup.Memory{},
			map[string]uint64{"DirectMap1G": 3 * gib, "DirectMap2M": 512 * mib, "DirectMap4k": 8192}},
		{"half may be committed, and swap", size.Size{Memory: gib, Swap: mib}, cgroup.Memory{Anon: 3 * mib, Shmem: mib, Usage: 4 * mib, SwapUsage: mib / 2},
			map[string]uint64{"CommitLimit": gib/2 + mib, "Committed_AS": 4*mib + mib/2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMeminfo(t, "6.18-x86", tt.size)
			data := m.Append(nil, tt.mem, cgroup.HugePages{})
			sized(t, data, m.Size())
			got := fields(t, data)
			for name, want := range tt.want {
				if got[name] != want {
					t.Errorf("%s: %d, want %d", name, got[name], want)
				}
			}
		})
	}
}

func TestMeminfoHugePages(t *testing.T) {
	h := bytes.Replace(host(t, "6.18-x86", "meminfo"), []byte("HugePages_Total:       0"), []byte("HugePages_Total:     100"), 1)
	m, err := NewMeminfo(h, size.Size{Memory: gib})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		huge                  cgroup.HugePages
		total, free, megabyte uint64
	}{
		{cgroup.HugePages{}, 0, 0, 0},
		{cgroup.HugePages{Limit: 20 * mib, Usage: 4 * mib}, 10, 8, 20},
		{cgroup.HugePages{Limit: cgroup.NoLimit, Usage: 4 * mib}, 100, 98, 200},
		{cgroup.HugePages{Limit: 2 * mib, Usage: 400 * mib}, 1, 0, 2},
	} {
		data := m.Append(nil, cgroup.Memory{}, tt.huge)
		sized(t, data, m.Size())
		f := fields(t, data)
		if f["HugePages_Total"] != tt.total || f["HugePages_Free"] != tt.free || f["Hugetlb"] != tt.megabyte*mib {
			t.Errorf("%+v: %d, %d free, %d", tt.huge, f["HugePages_Total"], f["HugePages_Free"], f["Hugetlb"])
		}
	}
}

// Sizes from the smallest to the largest keep their length, and the columns
// stay apart.
func TestMeminfoConstantSize(t *testing.T) {
	most := cgroup.Memory{Usage: math.MaxUint64, SwapUsage: math.MaxUint64, File: math.MaxUint64, Anon: math.MaxUint64,
		ActiveAnon: 1 << 62, InactiveAnon: 1 << 62, SlabReclaimable: 1 << 62, SlabUnreclaimable: 1 << 62, Zswapped: 1 << 62}
	for _, memory := range []uint64{4 * mib, gib, 99_999_999 * 1024, 100_000_000 * 1024, size.MaxMemory} {
		m := newMeminfo(t, "6.18-x86", size.Size{Memory: memory, Swap: memory})
		for _, mem := range []cgroup.Memory{{}, busyV1, busyV2, most} {
			got := m.Append(nil, mem, cgroup.HugePages{})
			sized(t, got, m.Size())
			if strings.Contains(string(got), " \n") {
				t.Errorf("memory %d: padding at a line's end:\n%s", memory, got)
			}
			if f := fields(t, got); f["MemTotal"] != memory/1024*1024 || f["MemAvailable"] > f["MemTotal"] {
				t.Errorf("memory %d: total %d, available %d", memory, f["MemTotal"], f["MemAvailable"])
			}
		}
	}
}

func TestMeminfoBadHost(t *testing.T) {
	for _, in := range []string{"", "MemTotal: 0 kB\n", "MemTotal: x kB\n", "MemFree: 12 kB\n", "MemTotal 12 kB\n", "MemTotal: 12 MB\n"} {
		if _, err := NewMeminfo([]byte(in), size.Size{Memory: gib}); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", in, err)
		}
	}
	m, err := NewMeminfo([]byte("MemTotal: 12 kB\n\ngarbage\nNewField: 77 kB\nA: 1 2 3\n"), size.Size{Memory: 4 * mib})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(m.Append(nil, cgroup.Memory{}, cgroup.HugePages{})); got != "MemTotal:           4096 kB\nNewField:              0 kB\n" {
		t.Errorf("got %q", got)
	}
}

func FuzzMeminfo(f *testing.F) {
	for _, kernel := range []string{"6.18-x86", "6.1-x86", "5.10-x86"} {
		f.Add(host(f, kernel, "meminfo"), uint64(gib), uint64(mib), uint64(2*gib), uint64(gib), uint64(gib))
	}
	f.Add([]byte("MemTotal: 18446744073709551615 kB\nHugepagesize: 18014398509481984 kB\nCommitLimit: 18446744073709551615 kB\nDirectMap1048576G: 1 kB\n"),
		uint64(1), uint64(0), uint64(1<<63), uint64(1<<63), uint64(1<<63))
	f.Fuzz(func(t *testing.T, data []byte, memory, swap, usage, file, slab uint64) {
		s := size.Size{Memory: 1 + memory%size.MaxMemory, Swap: swap % size.MaxMemory}
		m, err := NewMeminfo(data, s)
		if err != nil {
			return
		}
		got := m.Append(nil, cgroup.Memory{Usage: usage, File: file, SlabReclaimable: slab, Anon: file, SwapCached: slab}, cgroup.HugePages{Limit: usage, Usage: file})
		if len(got) != m.Size() {
			t.Errorf("%d bytes, Size says %d", len(got), m.Size())
		}
	})
}

func BenchmarkMeminfo(b *testing.B) {
	m := newMeminfo(b, "6.18-x86", size.Size{Memory: gib, Swap: gib})
	dst := make([]byte, 0, m.Size())
	b.ReportAllocs()
	for b.Loop() {
		m.Append(dst, busyV2, cgroup.HugePages{})
	}
}
