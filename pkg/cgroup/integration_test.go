package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

const sysCgroup = "/sys/fs/cgroup"

// realFS returns the machine's own cgroup file system, as root.
func realFS(t testing.TB) *FS {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("cgroup integration tests need root")
		}
		t.Skip("SKIPPED: cgroup integration tests need root")
	}
	f, err := Detect(sysCgroup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A testCgroup is a cgroup of the test's own in every hierarchy.
type testCgroup struct {
	t     testing.TB
	fs    *FS
	name  string
	paths map[string]string
}

// newCgroup makes the cgroup name below the root in every hierarchy, and takes
// it away at the test's end.
func newCgroup(t testing.TB, f *FS, name string) *testCgroup {
	t.Helper()
	c := &testCgroup{t: t, fs: f, name: name, paths: map[string]string{}}
	for _, h := range f.all {
		c.paths[h.key] = "/" + name
		dir := filepath.Join(h.dir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if h.v2 && f.mode == V2 {
			c.enable(h)
		}
	}
	t.Cleanup(c.remove)
	if h := f.byController["cpuset"]; h != nil && !h.v2 {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			c.inheritCPUSet(filepath.Join(h.dir, dir))
		}
		c.inheritCPUSet(filepath.Join(h.dir, name))
	}
	return c
}

// enable turns the controllers on down to the cgroup.
func (c *testCgroup) enable(h *hierarchy) {
	c.t.Helper()
	for _, controller := range []string{"+cpu", "+memory", "+cpuset", "+io", "+pids"} {
		file := filepath.Join(h.dir, "cgroup.subtree_control")
		if err := os.WriteFile(file, []byte(controller), 0); err != nil {
			c.t.Logf("not enabled: %v", err)
		}
	}
}

// inheritCPUSet gives a v1 cpuset its parent's CPUs: without any it admits no
// process.
func (c *testCgroup) inheritCPUSet(dir string) {
	c.t.Helper()
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *testCgroup) remove() {
	for _, h := range c.fs.all {
		if err := os.Remove(filepath.Join(h.dir, c.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			c.t.Errorf("remove test cgroup: %v", err)
		}
	}
}

func (c *testCgroup) dir(controller string) string {
	return filepath.Join(c.fs.byController[controller].dir, c.name)
}

// set writes a file, by its name on v1 or on v2.
func (c *testCgroup) set(controller, v1, v1Value, v2, v2Value string) {
	c.t.Helper()
	name, value := v1, v1Value
	if c.fs.byController[controller].v2 {
		name, value = v2, v2Value
	}
	if name == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(c.dir(controller), name), []byte(value), 0); err != nil {
		c.t.Fatal(err)
	}
}

func (c *testCgroup) open() *Group {
	c.t.Helper()
	g, err := c.fs.Open(c.paths)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { g.Close() })
	return g
}

// run starts a shell in the cgroup. It waits for a line of input before it runs
// the script, and for another one at its end; done lets it end.
func (c *testCgroup) run(script string) (pid int, ran, done func()) {
	c.t.Helper()
	cmd := exec.Command("sh", "-c", "read x; "+script+"; echo ran; read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	for _, h := range c.fs.all {
		if err := os.WriteFile(filepath.Join(h.dir, c.name, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			c.t.Fatal(err)
		}
	}
	ended := false
	done = func() {
		if !ended {
			ended = true
			in.Close()
			cmd.Wait()
		}
	}
	c.t.Cleanup(done)
	return cmd.Process.Pid, func() {
		c.t.Helper()
		fmt.Fprintln(in)
		if n, err := out.Read(make([]byte, 16)); n == 0 {
			c.t.Fatalf("shell in the cgroup: %v", err)
		}
	}, done
}

func testName(t testing.TB, suffix string) string {
	return fmt.Sprintf("truesize-test-%d%s", os.Getpid(), suffix)
}

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
	c.set("cpu", "cpu.cfs_quota_us", "5000", "cpu.max", "5000 100000")
	g := c.open()
	_, ran, _ := c.run("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done")
	ran()
	cpu, err := g.CPU()
	if err != nil {
		t.Fatal(err)
	}
	if cpu.Throttled == 0 || cpu.NrThrottled == 0 {
		t.Errorf("a busy shell under a quota of 5 %% was not throttled: %+v", cpu)
	}
}

func BenchmarkCPU(b *testing.B) {
	g := newCgroup(b, realFS(b), testName(b, "-bench")).open()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.CPU(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMemory(b *testing.B) {
	g := newCgroup(b, realFS(b), testName(b, "-bench")).open()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Memory(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFile reads each file by itself: what the kernel's part costs.
func BenchmarkFile(b *testing.B) {
	g := newCgroup(b, realFS(b), testName(b, "-bench")).open()
	for _, f := range g.files() {
		if !f.exists() {
			continue
		}
		b.Run(filepath.Base(f.path), func(b *testing.B) {
			buf := make([]byte, startBuffer)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.read(&buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
