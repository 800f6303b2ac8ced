package cgroup

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/truesize/truesize/pkg/size"
)

// The trees in testdata were taken from real kernels: v2 and v1 (cpu and
// cpuacct mounted together, with systemd's symlinks) from 6.1, v2-5.10 from 5.10,
// hybrid from 6.18. See testdata/README.md.

const scope = "/kubepods.slice/kubepods-pod1.slice/cri-containerd-c1.scope"

// fixtures are the trees with the paths of the container in them.
var fixtures = []struct {
	dir   string
	mode  Mode
	paths map[string]string
}{
	{"v2", V2, map[string]string{"": scope}},
	{"v2-5.10", V2, map[string]string{"": scope}},
	{"v1", V1, everywhere(scope)},
	{"hybrid", Hybrid, everywhere("/kubepods/pod1/c1")},
}

// everywhere is a path in every v1 hierarchy.
func everywhere(path string) map[string]string {
	paths := map[string]string{"": "/"}
	for _, c := range controllers {
		paths[c] = path
	}
	return paths
}

func detect(t testing.TB, dir string) *FS {
	t.Helper()
	f, err := Detect("testdata/" + dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFixtures(t *testing.T) {
	wants := map[string]struct {
		limits  size.Limits
		cpu     CPU
		memory  Memory
		cpuset  []int
		tasks   int
		threads []int
		io      []Device
	}{
		"v2": {
			limits: size.Limits{CPUMilli: 500, CPUSet: 1, Memory: 128 << 20, Swap: 64 << 20, HasSwap: true, SwapAccounting: true},
			cpu:    CPU{User: 1103998, System: 194589, Throttled: 1209669, NrPeriods: 28, NrThrottled: 25},
			memory: Memory{Usage: 21360640, File: 20971520, Anon: 53248, Shmem: 20971520, ActiveAnon: 4096,
				InactiveAnon: 21020672, Kernel: 98304, PageTables: 20480, Slab: 55592, SlabReclaimable: 50256, SlabUnreclaimable: 5336},
			tasks: 1, threads: []int{103}, cpuset: []int{0},
			io: []Device{{Major: 254, ReadBytes: 2621440, WriteBytes: 122880, ReadIOs: 40, WriteIOs: 30}},
		},
		"v2-5.10": { // which tells of memory in batches: a few pages are none
			limits: size.Limits{CPUMilli: 500, CPUSet: 1, Memory: 128 << 20, Swap: 64 << 20, HasSwap: true, SwapAccounting: true},
			cpu:    CPU{User: 6784352, System: 352769, Throttled: 6947517, NrPeriods: 143, NrThrottled: 141},
			memory: Memory{Usage: 21045248, File: 20951040, Shmem: 20951040, InactiveAnon: 21086208},
			tasks:  1, threads: []int{94}, cpuset: []int{0},
			io: []Device{{Major: 254, ReadBytes: 2629632, WriteBytes: 122880, ReadIOs: 42, WriteIOs: 30}},
		},
		"v1": {
			limits: size.Limits{CPUMilli: 500, CPUSet: 1, Memory: 128 << 20, Swap: 64 << 20, HasSwap: true, SwapAccounting: true},
			cpu:    CPU{User: 1130894, System: 222139, Throttled: 1266676, NrPeriods: 29, NrThrottled: 26},
			memory: Memory{Usage: 21250048, File: 20971520, Anon: 49152, Shmem: 20971520, ActiveAnon: 4096,
				InactiveAnon: 21016576, Kernel: 102400},
			tasks: 1, threads: []int{135}, cpuset: []int{0},
			io: []Device{{Major: 254}},
		},
		"hybrid": {
			limits: size.Limits{CPUMilli: 1200, CPUSet: 1, Memory: 200 << 20, Swap: 100 << 20, HasSwap: true, SwapAccounting: true},
			cpu:    CPU{User: 1410897, System: 20155},
			memory: Memory{Usage: 32702464, Kernel: 937984, File: 31563776, Anon: 110592, Dirty: 31461376, ActiveAnon: 4096,
				InactiveAnon: 106496, InactiveFile: 31461376, ActiveFile: 102400},
			tasks: 1, threads: []int{9533}, cpuset: []int{0},
		},
	}
	for _, fx := range fixtures {
		t.Run(fx.dir, func(t *testing.T) {
			want := wants[fx.dir]
			f := detect(t, fx.dir)
			if f.Mode() != fx.mode {
				t.Errorf("mode %s", f.Mode())
			}
			g, err := f.Open(fx.paths)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			check(t, "limits", want.limits)(g.Limits())
			check(t, "cpu", want.cpu)(g.CPU())
			check(t, "memory", want.memory)(g.Memory())
			check(t, "cpuset", want.cpuset)(g.CPUSet())
			check(t, "tasks", want.tasks)(g.Tasks())
			check(t, "threads", want.threads)(g.Threads(nil, 10))
			check(t, "io", want.io)(g.IO(nil))
		})
	}
}

func check[T any](t *testing.T, what string, want T) func(T, error) {
	t.Helper()
	return func(got T, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", what, got, err, want)
		}
	}
}

// A container's cgroup need not exist: then the limits are its pod's.
func TestLimitsBeforeTheCgroup(t *testing.T) {
	for dir, want := range map[string]size.Limits{
		"v2":     {CPUMilli: 1500, CPUSet: 2, Memory: 256 << 20, SwapAccounting: true},
		"v1":     {CPUMilli: 1500, CPUSet: 2, Memory: 256 << 20, SwapAccounting: true},
		"hybrid": {CPUSet: 2, SwapAccounting: true},
	} {
		f := detect(t, dir)
		paths, err := f.PathsFromSpec("kubepods-pod1.slice:cri-containerd:new")
		if err != nil {
			t.Fatal(err)
		}
		check(t, dir, want)(f.Limits(paths))
		check(t, dir+": CPUs", []int{0, 1})(f.CPUs(paths))
		if _, err := f.Open(paths); !errors.Is(err, ErrGone) {
			t.Errorf("%s: open: %v, want ErrGone", dir, err)
		}
	}
}

func TestThreadsOfDescendants(t *testing.T) {
	for dir, want := range map[string]int{"v2": 103, "v1": 135} {
		f := detect(t, dir)
		paths, err := f.PathsFromSpec("/kubepods.slice")
		if err != nil {
			t.Fatal(err)
		}
		g, err := f.Open(paths)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		check(t, dir, []int{7, want})(g.Threads([]int{7}, 10))
		check(t, dir, []int{7})(g.Threads([]int{7}, 0))
	}
}

func TestHugePages(t *testing.T) {
	for dir, paths := range map[string]map[string]string{"v2": {"": scope}, "v1": everywhere(scope)} {
		g, err := detect(t, dir).Open(paths)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		check(t, dir, HugePages{Limit: NoLimit})(g.HugePages(2 << 20))
		if _, err := g.HugePages(1 << 30); !errors.Is(err, ErrNoController) {
			t.Errorf("%s: 1 GiB pages: %v", dir, err)
		}
	}
	for n, want := range map[uint64]string{2 << 20: "2MB", 1 << 30: "1GB", 64 << 10: "64KB", 16 << 30: "16GB"} {
		if got := hugePageName(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestClosedGroup(t *testing.T) {
	g, err := detect(t, "v2").Open(map[string]string{"": scope})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.Close(), g.Close()); err != nil {
		t.Error(err)
	}
	checkGone(t, g)
}

// A cgroup that is removed while it is opened has a directory and no files.
func TestOpenVanishing(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpu memory\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "c1"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := Detect(root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Open(map[string]string{"": "/c1"}); !errors.Is(err, ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
}

// The root of v2 has CPU time and threads, but no memory of its own.
func TestRootOfV2(t *testing.T) {
	g, err := detect(t, "v2").Open(map[string]string{"": "/"})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if cpu, err := g.CPU(); err != nil || cpu.User == 0 {
		t.Errorf("%+v, %v", cpu, err)
	}
	if _, err := g.Memory(); !errors.Is(err, ErrNoController) {
		t.Errorf("memory: %v", err)
	}
	check(t, "limits", size.Limits{CPUSet: 2})(g.Limits())
}

func TestBadPaths(t *testing.T) {
	for _, p := range []string{"", "a", "a/b", "/..", "/../x", "/a/../b", "/a/..", "//a", "/a/", "/a/./b", "/a\x00b", "/a\nb", "/" + strings.Repeat("x", 5000)} {
		f := detect(t, "v2")
		if _, err := f.Open(map[string]string{"": p}); !errors.Is(err, ErrBadPath) {
			t.Errorf("open %.20q: %v", p, err)
		}
		if _, err := f.Limits(map[string]string{"": p}); !errors.Is(err, ErrBadPath) {
			t.Errorf("limits of %.20q: %v", p, err)
		}
		if _, err := f.CPUs(map[string]string{"": p}); !errors.Is(err, ErrBadPath) {
			t.Errorf("CPUs of %.20q: %v", p, err)
		}
		if _, err := f.PathsFromSpec(p); !errors.Is(err, ErrBadPath) {
			t.Errorf("cgroupsPath %.20q: %v", p, err)
		}
	}
	// Paths of the other version.
	if _, err := detect(t, "v1").Open(map[string]string{"": scope}); !errors.Is(err, ErrBadPath) {
		t.Errorf("v2 paths on v1: %v", err)
	}
	if _, err := detect(t, "v2").Open(map[string]string{"memory": scope}); !errors.Is(err, ErrBadPath) {
		t.Errorf("v1 paths on v2: %v", err)
	}
}

func TestDetectNothing(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "testdata/none"} {
		if f, err := Detect(dir); err == nil {
			t.Errorf("%s: %+v", dir, f)
		}
	}
}

// Controllers may be mounted together with no symlinks; an empty directory has
// nothing mounted on it.
func TestDetectComounted(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"cpu,cpuacct", "memory", "blkio"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == "blkio" {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, dir, "cgroup.procs"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Detect(root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Mode() != V1 || f.byController["blkio"] != nil || f.byController["memory"] == nil ||
		filepath.Base(f.byController["cpu"].dir) != "cpu,cpuacct" || filepath.Base(f.byController["cpuacct"].dir) != "cpu,cpuacct" {
		t.Errorf("%s: %+v", f.Mode(), f.byController)
	}
}

func TestPathsFromSpec(t *testing.T) {
	for spec, want := range map[string]string{
		"/kubepods/burstable/pod1/c1":          "/kubepods/burstable/pod1/c1",
		"/":                                    "/",
		"kubepods-burstable-pod1.slice:cri:c1": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-c1.scope",
		"system.slice:docker:c1":               "/system.slice/docker-c1.scope",
		":runc:c1":                             "/system.slice/runc-c1.scope",
		"user.slice::c1":                       "/user.slice/c1.scope",
		"-.slice:cri:c1":                       "/cri-c1.scope",
		"a.slice:ignored:b-c.slice":            "/a.slice/b-c.slice",
		"kubepods-pod1_2_3.slice:cri-containerd:a.b": "/kubepods.slice/kubepods-pod1_2_3.slice/cri-containerd-a.b.scope",
	} {
		for _, dir := range []string{"v1", "v2"} {
			paths, err := detect(t, dir).PathsFromSpec(spec)
			if err != nil {
				t.Errorf("%s: %v", spec, err)
				continue
			}
			key := map[string]string{"v1": "memory", "v2": ""}[dir]
			if paths[key] != want {
				t.Errorf("%s: %s, want %s", spec, paths[key], want)
			}
		}
	}
	for _, spec := range []string{"a:b:c", "a-.slice:b:c", "-a.slice:b:c", "a--b.slice:b:c", ".slice:b:c", "a/b.slice:b:c", "a.slice:b:",
		"a.slice:b:c/../d", "a.slice:b/c:d", "a:b", "a.slice:b:c:d", "../a.slice:b:c"} {
		if got, err := detect(t, "v1").PathsFromSpec(spec); !errors.Is(err, ErrBadPath) {
			t.Errorf("%s: %v, %v", spec, got, err)
		}
	}
}

func TestParseProcCgroup(t *testing.T) {
	got, err := ParseProcCgroup([]byte("9:name=systemd:/a\n4:cpu,cpuacct:/b:c\n3:memory:/d\n0::/e\n"))
	want := map[string]string{"name=systemd": "/a", "cpu": "/b:c", "cpuacct": "/b:c", "memory": "/d", "": "/e"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, in := range []string{"", "\n", "0::", "0::a", "x::/", "0:/", ":::/"} {
		if got, err := ParseProcCgroup([]byte(in)); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestParseCPUList(t *testing.T) {
	for in, want := range map[string][]int{
		"\n": nil, "": nil, "0\n": {0}, "0-3\n": {0, 1, 2, 3}, "0-1,4,6-7\n": {0, 1, 4, 6, 7},
	} {
		if got, err := ParseCPUList([]byte(in)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"a", "-", "1-", "-1", "3-1", "0,0", "1,0", "0-99999999", "0,", ",", "0 1", "1-2-3"} {
		if got, err := ParseCPUList([]byte(in)); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}
