package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
			c.enable(h.dir)
			for i, char := range name {
				if char == '/' {
					c.enable(filepath.Join(h.dir, name[:i]))
				}
			}
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

// enable turns the controllers on for the children of a v2 cgroup, whose
// own must be on already.
func (c *testCgroup) enable(dir string) {
	c.t.Helper()
	for _, controller := range []string{"+cpu", "+memory", "+cpuset", "+io", "+pids"} {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(controller), 0); err != nil {
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
	return c.start(exec.Command("sh", "-c", "read x; "+script+"; echo ran; read x"))
}

// start starts a command in the cgroup that speaks as run's shell does.
func (c *testCgroup) start(cmd *exec.Cmd) (pid int, ran, done func()) {
	c.t.Helper()
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
