// Package cgroups makes cgroups for tests.
package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Root is where the hierarchies are mounted.
const Root = "/sys/fs/cgroup"

// generous is how long what was killed in a cgroup may take to be gone.
const generous = 30 * time.Second

// Create makes the cgroup of that name, below the root, in every hierarchy there
// is, so that it can take processes. One that is there already is taken. It
// returns the directories of those it made by the hierarchy's controllers, ""
// for cgroup v2; with an error, those that there are so far.
func Create(name string) (dirs map[string]string, err error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	dirs = make(map[string]string)
	for line := range strings.Lines(string(data)) {
		before, after, _ := strings.Cut(line, " - ")
		point, f := strings.Fields(before)[4], strings.Fields(after)
		if !strings.HasPrefix(point, Root) || !strings.HasPrefix(f[0], "cgroup") {
			continue
		}
		dir := filepath.Join(point, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return dirs, err
		}
		if f[0] == "cgroup2" {
			dirs[""] = dir
			continue
		}
		for _, option := range strings.Split(f[2], ",") {
			if option != "rw" && option != "ro" {
				dirs[option] = dir
			}
		}
		if err := fillCPUSet(point, dir); err != nil {
			return dirs, err
		}
	}
	return dirs, nil
}

// Make makes a cgroup of this process's own in every hierarchy there is, which
// can take processes. It returns its path by controller, "" that of cgroup v2,
// and is removed at the test's end. One that is there already is taken.
func Make(t testing.TB, name string) map[string]string {
	t.Helper()
	name = fmt.Sprintf("truesize-test-%d-%s", os.Getpid(), name)
	dirs, err := Create(name)
	paths := make(map[string]string)
	for controller, dir := range dirs {
		paths[controller] = "/" + name
		t.Cleanup(func() { remove(t, dir) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// Enter moves a process into the cgroup at paths, one that Make has made.
func Enter(t testing.TB, paths map[string]string, pid int) {
	t.Helper()
	dirs, err := Create(strings.TrimPrefix(paths[""], "/")) // it is there
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// fillCPUSet gives a v1 cpuset what its parent has: an empty one takes nobody.
func fillCPUSet(parent, dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		all, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			continue // another controller's hierarchy
		}
		if err := os.WriteFile(filepath.Join(dir, file), all, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func remove(t testing.TB, dir string) {
	t.Helper()
	for deadline := time.Now().Add(generous); ; time.Sleep(time.Millisecond) {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Error(err)
			return
		}
	}
}
