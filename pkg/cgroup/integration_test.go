package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
)

func TestRealCgroup(t *testing.T) {
	f := realFS(t)
	pod := newCgroup(t, f, testName(t, ""))
	c := newCgroup(t, f, pod.name+"/ctr")
	pod.set("cpu", "cpu.cfs_quota_us", "150000", "cpu.max", "150000 100000")
	pod.set("memory", "memory.limit_in_bytes", "512M", "memory.max", "512M")
	c.set("cpu", "cpu.cfs_quota_us", "100000", "cpu.max", "100000 100000")
	c.set("memory", "memory.limit_in_bytes", "64M", "memory.max", "64M")
	c.set("cpuset", "cpuset.cpus", "0", "cpuset.cpus", "0")
	g := c.open()

	l, err := g.Limits()
	if err != nil {
		t.Fatal(err)
	}
	if l.CPUMilli != 1000 || l.Memory != 64<<20 || l.CPUSet != 1 {
		t.Errorf("limits %+v", l)
	}

	before, err := g.CPU()
	if err != nil {
		t.Fatal(err)
	}
	pid, ran, done := c.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
	ran()
	after, err := g.CPU()
	if err != nil {
		t.Fatal(err)
	}
	if after.User+after.System <= before.User+before.System {
		t.Errorf("CPU time did not grow: %+v, then %+v", before, after)
	}

	m, err := g.Memory()
	if err != nil {
		t.Fatal(err)
	}
	if m.Usage == 0 || m.Usage > 64<<20 {
		t.Errorf("memory %+v", m)
	}
	if cpus, err := g.CPUSet(); err != nil || !slices.Equal(cpus, []int{0}) {
		t.Errorf("cpuset %v, %v", cpus, err)
	}
	if _, err := g.IO(nil); err != nil {
		t.Error(err)
	}
	if n, err := g.Tasks(); err != nil || n != 1 {
		t.Errorf("%d tasks, %v", n, err)
	}
	// The pod's cgroup finds the thread in its child.
	for _, of := range []*testCgroup{c, pod} {
		if tids, err := of.open().Threads(nil, 10); err != nil || !slices.Equal(tids, []int{pid}) {
			t.Errorf("threads %v, %v; want %d", tids, err, pid)
		}
	}
	done()
	c.remove()
	checkGone(t, g)
	if _, err := f.Open(c.paths); !errors.Is(err, ErrGone) {
		t.Errorf("open: %v", err)
	}
	// Its limits are then those of the pod.
	l, err = f.Limits(c.paths)
	if err != nil || l.CPUMilli != 1500 || l.Memory != 512<<20 {
		t.Errorf("limits without the cgroup: %+v, %v", l, err)
	}
}

// checkGone expects ErrGone from every reading.
func checkGone(t *testing.T, g *Group) {
	t.Helper()
	for name, read := range map[string]func() error{
		"CPU":     func() error { _, err := g.CPU(); return err },
		"Memory":  func() error { _, err := g.Memory(); return err },
		"IO":      func() error { _, err := g.IO(nil); return err },
		"CPUSet":  func() error { _, err := g.CPUSet(); return err },
		"Tasks":   func() error { _, err := g.Tasks(); return err },
		"Threads": func() error { _, err := g.Threads(nil, 10); return err },
	} {
		if err := read(); !errors.Is(err, ErrGone) {
			t.Errorf("%s: got %v, want ErrGone", name, err)
		}
	}
}

func TestRealThrottling(t *testing.T) {
	f := realFS(t)
	c := newCgroup(t, f, testName(t, "-throttled"))
	c.set("cpu", "cpu.cfs_quota_us", "2000", "cpu.max", "2000 100000")
	g := c.open()
	_, ran, _ := c.run("i=0; while [ $i -lt 12000 ]; do i=$((i+1)); done")
	ran()
	cpu, err := g.CPU()
	if err != nil {
		t.Fatal(err)
	}
	if cpu.Throttled == 0 || cpu.NrThrottled == 0 {
		t.Errorf("a busy shell under a quota of 2 %% was not throttled: %+v", cpu)
	}
}

// TestMain lets the test binary be a process of many threads.
func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv("TRUESIZE_TEST_THREADS")); err == nil {
		becomeThreads(n)
		return
	}
	os.Exit(m.Run())
}

// becomeThreads makes n threads after a byte of input, says so, and waits for
// another byte or the input's end.
func becomeThreads(n int) {
	os.Stdin.Read(make([]byte, 1))
	var started sync.WaitGroup
	for range n {
		started.Add(1)
		go func() {
			runtime.LockOSThread()
			started.Done()
			select {}
		}()
	}
	started.Wait()
	fmt.Println("ran")
	os.Stdin.Read(make([]byte, 1))
}

// The kernel hands out a list of threads in pieces of a page: 1000 thread ids
// are more than one.
func TestRealManyThreads(t *testing.T) {
	f := realFS(t)
	c := newCgroup(t, f, testName(t, "-threads"))
	g := c.open()
	const n = 1000
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("TRUESIZE_TEST_THREADS=%d", n))
	_, ran, _ := c.start(cmd)
	ran()
	tids, err := g.Threads(nil, 10*n)
	if err != nil || len(tids) < n {
		t.Fatalf("%d threads, %v", len(tids), err)
	}
	// The Go runtime may have started a thread since.
	if pids, err := g.Tasks(); err != nil || pids < n {
		t.Errorf("the pids controller says %d threads, %v", pids, err)
	}
	slices.Sort(tids)
	if distinct := len(slices.Compact(slices.Clone(tids))); distinct != len(tids) {
		t.Errorf("%d of %d thread ids are distinct", distinct, len(tids))
	}
}

// Readings from several goroutines, while the group is closed.
func TestRealConcurrentClose(t *testing.T) {
	f := realFS(t)
	c := newCgroup(t, f, testName(t, "-close"))
	for range 20 {
		g := c.open()
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for {
					_, err := g.CPU()
					_, err2 := g.Memory()
					_, err3 := g.Threads(nil, 10)
					if err = errors.Join(err, err2, err3); err != nil {
						if !errors.Is(err, ErrGone) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		readers.Wait()
	}
}

// A snapshot allocates nothing.
func TestRealAllocations(t *testing.T) {
	g := newCgroup(t, realFS(t), testName(t, "-allocs")).open()
	devices := make([]Device, 0, 16)
	for name, read := range map[string]func() error{
		"CPU":    func() error { _, err := g.CPU(); return err },
		"Memory": func() error { _, err := g.Memory(); return err },
		"IO":     func() error { _, err := g.IO(devices); return err },
	} {
		n := testing.AllocsPerRun(100, func() {
			if err := read(); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A container may have threaded cgroups below its own.
func TestProcessesWithThreadedCgroup(t *testing.T) {
	f := realFS(t)
	i := slices.IndexFunc(f.all, func(h *hierarchy) bool { return h.v2 })
	if i < 0 && os.Getenv("CI") == "true" {
		t.Fatal("there is no cgroup v2")
	} else if i < 0 {
		t.Skip("SKIPPED: there is no cgroup v2")
	}
	unified, err := Detect(f.all[i].dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unified.Close()
	c := newCgroup(t, unified, testName(t, "-domain"))
	threaded := filepath.Join(f.all[i].dir, c.name, "threaded")
	if err := os.Mkdir(threaded, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(threaded)
	if err := os.WriteFile(filepath.Join(threaded, "cgroup.type"), []byte("threaded"), 0); err != nil {
		t.Fatal(err)
	}
	pid, _, done := c.run("true")
	defer done()
	if err := os.WriteFile(filepath.Join(threaded, "cgroup.threads"), []byte(strconv.Itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
	if pids, err := unified.Processes(c.paths, 10); err != nil || !slices.Equal(pids, []int{pid}) {
		t.Errorf("processes %v, %v; want %d", pids, err, pid)
	}
}
