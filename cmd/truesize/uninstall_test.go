package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The cgroups of a view that was started by hand go from every hierarchy; not
// while something runs in one, and nothing goes that is no cgroup.
func TestRemoveCgroups(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	const root = "/sys/fs/cgroup"
	name := fmt.Sprintf("truesize-test-%d", os.Getpid())
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.HasPrefix(f[2], "cgroup") && strings.HasPrefix(f[1], root) {
			dir := filepath.Join(f[1], name)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Remove(dir) })
			dirs = append(dirs, dir)
		}
	}
	busy := exec.Command("sleep", "600")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	defer busy.Process.Kill()
	last := dirs[len(dirs)-1]
	if err := os.WriteFile(filepath.Join(last, "cgroup.procs"), fmt.Append(nil, busy.Process.Pid), 0); err != nil {
		t.Fatal(err)
	}
	if err := removeCgroups(root, name); err == nil || !strings.Contains(err.Error(), "still run") {
		t.Errorf("with a process in it: %v", err)
	}
	if err := busy.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = busy.Wait()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if err = removeCgroups(root, name); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	plain := t.TempDir()
	if err := os.Mkdir(filepath.Join(plain, name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeCgroups(plain, name); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(plain, name)); err != nil {
		t.Errorf("a directory that is no cgroup: %v", err)
	}
}
