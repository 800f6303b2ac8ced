package lifecycle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/truesize/truesize/pkg/size"
)

// node writes files below a directory and returns the node they make.
func node(t *testing.T, files map[string]string) Node {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Node{Proc: filepath.Join(dir, "proc"), Sys: filepath.Join(dir, "sys")}
}

const (
	// Of a process named "a) S (b" of kernel 6.12.
	statFile   = "1234 (a) S (b) S 1 1234 1234 0 -1 4194560 1000 0 0 0 5 6 0 0 20 0 1 0 987654 2387968 256 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
	cgroupFile = "5:cpu,cpuacct:/a/b\n0::/a\n"
	onlineFile = "0-3,6\n"
)

func TestNodeHost(t *testing.T) {
	n := node(t, map[string]string{
		"sys/devices/system/cpu/online": onlineFile,
		"proc/meminfo":                  "MemTotal:       24684084 kB\nMemFree:        1 kB\nSwapTotal:       1024 kB\nHugePages_Total:       0\n",
	})
	got, err := n.Host()
	if want := (size.Host{CPUs: 5, Memory: 24684084 << 10, Swap: 1 << 20}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

func TestNodeHostErrors(t *testing.T) {
	good := "MemTotal: 1 kB\n"
	for _, tt := range []struct{ name, online, meminfo, want string }{
		{"no list", "all\n", good, "cpu/online"},
		{"no number", onlineFile, "MemTotal: many kB\n", "MemTotal: many"},
		{"no unit", onlineFile, "MemTotal: 1\n", "want a number of kB"},
		{"too large", onlineFile, "MemTotal: 18446744073709551615 kB\n", "out of range"},
		{"no total", onlineFile, "MemFree: 1 kB\n", "no MemTotal"},
		{"empty", onlineFile, "", "no MemTotal"},
	} {
		n := node(t, map[string]string{"sys/devices/system/cpu/online": tt.online, "proc/meminfo": tt.meminfo})
		if _, err := n.Host(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.name, err, tt.want)
		}
	}
	if _, err := node(t, nil).Host(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestNodeProcess(t *testing.T) {
	n := node(t, map[string]string{"proc/7/stat": statFile, "proc/7/cgroup": cgroupFile, "proc/8/stat": "8 (x\n", "proc/9/stat": statFile, "proc/9/cgroup": "?\n"})
	ticks, paths, err := n.Process(7)
	want := map[string]string{"cpu": "/a/b", "cpuacct": "/a/b", "": "/a"}
	if err != nil || ticks != 987654 || !reflect.DeepEqual(paths, want) {
		t.Errorf("%d, %v, %v; want 987654, %v", ticks, paths, err, want)
	}
	if _, _, err := n.Process(6); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ended: %v", err)
	}
	for _, pid := range []int{8, 9} {
		if _, _, err := n.Process(pid); err == nil {
			t.Errorf("malformed files of %d were accepted", pid)
		}
	}
}

func TestNodeOfThisMachine(t *testing.T) {
	n := Node{Proc: "/proc", Sys: "/sys"}
	if h, err := n.Host(); err != nil || h.CPUs < 1 || h.Memory == 0 {
		t.Errorf("host %+v, %v", h, err)
	}
	if ticks, paths, err := n.Process(os.Getpid()); err != nil || ticks == 0 || len(paths) == 0 {
		t.Errorf("this process: %d, %v, %v", ticks, paths, err)
	}
	if id, err := BootID("/proc"); err != nil || len(id) != 36 {
		t.Errorf("boot id %q, %v", id, err)
	}
}

func FuzzParseMeminfo(f *testing.F) {
	f.Add([]byte("MemTotal: 1 kB\nSwapTotal: 2 kB\n"))
	f.Add([]byte("MemTotal:\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		memory, swap, err := parseMeminfo(data)
		if err == nil && (memory == 0 || memory%1024 != 0 || swap%1024 != 0) {
			t.Errorf("accepted %d and %d", memory, swap)
		}
	})
}
