// Package cgroups makes cgroups for tests.
package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Root is where the hierarchies are mounted.
const Root = "/sys/fs/cgroup"

// generous is how long what was killed in a cgroup may take to be gone.
const generous = 30 * time.Second

// Make makes a cgroup of this process's own in every hierarchy there is, which
// can take processes. It returns its path by controller, "" that of cgroup v2,
// and is removed at the test's end. One that is there already is taken.
func Make(t testing.TB, name string) map[string]string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	name = fmt.Sprintf("truesize-test-%d-%s", os.Getpid(), name)
	paths := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		before, after, _ := strings.Cut(line, " - ")
		point, f := strings.Fields(before)[4], strings.Fields(after)
		if !strings.HasPrefix(point, Root) || !strings.HasPrefix(f[0], "cgroup") {
			continue
		}
		dir := filepath.Join(point, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, dir) })
		if f[0] == "cgroup2" {
			paths[""] = "/" + name
			continue
		}
		for _, option := range strings.Split(f[2], ",") {
			if option != "rw" && option != "ro" {
				paths[option] = "/" + name
			}
		}
		fillCPUSet(t, point, dir)
	}
	return paths
}

// fillCPUSet gives a v1 cpuset what its parent has: an empty one takes nobody.
func fillCPUSet(t testing.TB, parent, dir string) {
	t.Helper()
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		all, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			continue // another controller's hierarchy
		}
		if err := os.WriteFile(filepath.Join(dir, file), all, 0o644); err != nil {
			t.Fatal(err)
		}
	}
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
