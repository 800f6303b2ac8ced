package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// Of the state directory all goes but what somebody needs: records of
// attachments whose containers run, and refused log records.
func TestUninstallLeaves(t *testing.T) {
	const key = "attachments/lan/" + "0123456789abcdef@eth0"
	for _, tc := range []struct {
		name   string
		run    map[string]string // files by path
		state  map[string]string
		says   []string
		stays  []string
		failed string
	}{
		{name: "nothing"},
		{
			name:  "all, and nobody needs it",
			run:   map[string]string{"cni/counters.v1": "x", "cni/locks/lan/0": "", "logs.sock": ""},
			state: map[string]string{"cni/networks/lan/boot": "x", "logs/checkpoint": "x", "logs/checkpoint.previous": "x", "logs/checkpoint.damaged-1": "x", "logs/dead-letter.jsonl": "", "shim/x/libtruesize.so": "x", "viewd/x/truesize-viewd": "x"},
		},
		{
			name:  "an attachment",
			run:   map[string]string{"cni/" + key: "{}", "cni/counters.v1": "x"},
			state: map[string]string{"cni/networks/lan/boot": "x"},
			says:  []string{"for 1 attachments", "lan/0123456789abcdef@eth0"},
			stays: []string{"run/cni/" + key, "run/cni/counters.v1", "state/cni/networks/lan/boot"},
		},
		{
			name:  "a lease after a reboot",
			state: map[string]string{"cni/leases/lan/0123456789abcdef@eth0": "{}"},
			says:  []string{"for 1 attachments"},
			stays: []string{"state/cni/leases/lan/0123456789abcdef@eth0"},
		},
		{
			name:  "refused log records",
			state: map[string]string{"logs/checkpoint": "x", "logs/dead-letter.jsonl": "x", "logs/dead-letter.jsonl.1": "x"},
			says:  []string{"logs/dead-letter.jsonl: log records", "logs/dead-letter.jsonl.1: log records"},
			stays: []string{"state/logs/dead-letter.jsonl", "state/logs/dead-letter.jsonl.1"},
		},
		{
			name:   "somebody's file",
			state:  map[string]string{"logs/checkpoint": "x", "notes.txt": "x"},
			stays:  []string{"state/notes.txt"},
			failed: "not of Truesize's making is in it: notes.txt",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for base, files := range map[string]map[string]string{"run": tc.run, "state": tc.state} {
				for name, content := range files {
					path := filepath.Join(dir, base, name)
					if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			var out strings.Builder
			err := uninstall(t.Context(), &out, filepath.Join(dir, "run"), filepath.Join(dir, "state"), t.TempDir())
			if tc.failed == "" && err != nil || tc.failed != "" && (err == nil || !strings.Contains(err.Error(), tc.failed)) {
				t.Errorf("%v, want %q", err, tc.failed)
			}
			for _, s := range tc.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("it does not say %q: %s", s, &out)
				}
			}
			var left []string
			_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					rel, _ := filepath.Rel(dir, path)
					left = append(left, rel)
				}
				return nil
			})
			slices.Sort(left)
			slices.Sort(tc.stays)
			if !slices.Equal(left, tc.stays) {
				t.Errorf("left %q, want %q", left, tc.stays)
			}
			if entries, _ := os.ReadDir(dir); len(tc.stays) == 0 && len(entries) > 0 {
				t.Errorf("directories are left: %v", entries)
			}
		})
	}
}
