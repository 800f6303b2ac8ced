package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// abandoned is what a stack's killed owner leaves: a directory with mounts in
// it, a process in a cgroup, and a program of the repository's that works in
// the directory.
type abandoned struct {
	stack     *Stack
	processes []*exec.Cmd
}

func abandon(t *testing.T, repo string) *abandoned {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must run as root")
		}
		t.Skip("needs root")
	}
	s, err := create(Options{Repo: repo})
	must(t, err)
	t.Cleanup(func() { must(t, sweep(s.ID, repo)) })
	for _, dir := range []string{s.path("outer"), s.path("outer", "inner")} {
		must(t, os.MkdirAll(dir, 0o755))
		must(t, unix.Mount("none", dir, "tmpfs", 0, ""))
	}
	a := &abandoned{stack: s}
	a.start(t, sleeper(t, filepath.Join(repo, "bin", "tools", s.ID)), "-c", "read line", s.Dir)
	pid := a.start(t, "/bin/sleep", "1000")
	cgroup := filepath.Join(memoryHierarchy(t), cgroupOf(s.ID), "pod", "container")
	must(t, os.MkdirAll(cgroup, 0o755))
	must(t, os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), fmt.Append(nil, pid), 0))
	return a
}

// sleeper makes a shell at path and returns it.
func sleeper(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile("/bin/sh")
	must(t, err)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, data, 0o755))
	return path
}

func (a *abandoned) start(t *testing.T, name string, args ...string) int {
	t.Helper()
	cmd := exec.Command(name, args...)
	_, err := cmd.StdinPipe() // stays open: a reader waits for ever
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	a.processes = append(a.processes, cmd)
	return cmd.Process.Pid
}

// gone checks that nothing of it is left.
func (a *abandoned) gone(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(a.stack.Dir); !os.IsNotExist(err) {
		t.Errorf("directory: %v", err)
	}
	if below, err := mountsBelow(a.stack.Dir); err != nil || len(below) > 0 {
		t.Errorf("mounts %v, %v", below, err)
	}
	if dirs := cgroupDirs(cgroupOf(a.stack.ID)); len(dirs) > 0 {
		t.Errorf("cgroups %v", dirs)
	}
	for _, cmd := range a.processes {
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys() == nil {
			t.Errorf("process %v was not killed", cmd.Args)
		}
	}
}

// there checks that it was left alone.
func (a *abandoned) there(t *testing.T) {
	t.Helper()
	if below, err := mountsBelow(a.stack.Dir); err != nil || len(below) != 2 {
		t.Errorf("mounts %v, %v", below, err)
	}
	for _, cmd := range a.processes {
		if err := cmd.Process.Signal(unix.Signal(0)); err != nil {
			t.Errorf("process %v: %v", cmd.Args, err)
		}
	}
}

func TestRecover(t *testing.T) {
	repo := t.TempDir()
	living, dead := abandon(t, repo), abandon(t, repo)
	must(t, dead.stack.owner.Close()) // as the kernel does for a killed owner
	must(t, Recover(func(string) {}))
	dead.gone(t)
	living.there(t)
	must(t, living.stack.owner.Close())
}

func TestDetachAndDown(t *testing.T) {
	repo, other := t.TempDir(), t.TempDir()
	a := abandon(t, repo)
	must(t, a.stack.Detach())
	must(t, Recover(func(string) {}))
	a.there(t)
	stopped, err := Down(other, func(string) {})
	if stopped != 0 || err != nil {
		t.Errorf("another repository's down: %d, %v", stopped, err)
	}
	a.there(t)
	stopped, err = Down(repo, func(string) {})
	if stopped != 1 || err != nil {
		t.Errorf("down: %d, %v", stopped, err)
	}
	a.gone(t)
}

// TestStopTwice checks that a second stop, and a sweep of nothing, are no
// errors.
func TestStopTwice(t *testing.T) {
	a := abandon(t, t.TempDir())
	a.stack.opts.Progress = func(string) {}
	must(t, a.stack.Stop())
	a.gone(t)
	must(t, a.stack.Stop())
	must(t, sweep(a.stack.ID, a.stack.opts.Repo))
}

// TestStopFails checks that what cannot be removed is told of.
func TestStopFails(t *testing.T) {
	a := abandon(t, t.TempDir())
	a.stack.opts.Progress = func(string) {}
	name := bridgeOf(a.stack.ID)
	link := func(args ...string) {
		out, err := exec.Command("ip", append([]string{"link"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip link %v: %v: %s", args, err, out)
		}
	}
	link("add", name, "type", "veth", "peer", "name", "p"+name) // no bridge
	err := a.stack.Stop()
	link("del", name)
	if !errors.Is(err, ErrLeft) {
		t.Errorf("stop: %v, want an ErrLeft", err)
	}
	must(t, a.stack.Stop())
	a.gone(t)
}

// TestNotOurs checks that what only looks like a stack is left alone.
func TestNotOurs(t *testing.T) {
	dir, err := os.MkdirTemp(baseDir, dirPrefix)
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	must(t, Recover(func(string) {}))
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

// memoryHierarchy returns where the memory controller's hierarchy, or the
// unified one, is mounted.
func memoryHierarchy(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			return dir
		}
	}
	t.Fatal("no cgroup hierarchy")
	return ""
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
