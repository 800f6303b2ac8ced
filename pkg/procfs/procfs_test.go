package procfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tail is what follows the name in the stat of kernel 6.12.
const tail = " S 1 1234 1234 0 -1 4194560 1000 0 0 0 5 6 0 0 20 0 1 0 987654 2387968 256 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"

func TestParseStat(t *testing.T) {
	want := Stat{State: 'S', Parent: 1, Start: 987654}
	for _, name := range []string{"sh", "a b", "a) S (b", "a)", ")", "", "a\n1 2"} {
		if s, err := ParseStat([]byte("1234 (" + name + ")" + tail)); err != nil || s != want {
			t.Errorf("%q: %+v, %v; want %+v", name, s, err, want)
		}
	}
	for _, bad := range []string{
		"", "7 (sh", "7 (sh)", "7 (sh) ", "7 (sh) S 1", "7 sh" + tail,
		"7 (sh)" + strings.Replace(tail, "987654", "x", 1), "7 (sh)" + strings.Replace(tail, "S 1", "S x", 1),
	} {
		if s, err := ParseStat([]byte(bad)); !errors.Is(err, ErrFormat) || s != (Stat{}) {
			t.Errorf("%q: %+v, %v", bad, s, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (a)" + tail))
	f.Add([]byte("1 () S"))
	f.Add([]byte(") "))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseStat(data)
		if err != nil && s != (Stat{}) {
			t.Errorf("%+v and %v", s, err)
		}
	})
}

// The kernel's own.
func TestReadStat(t *testing.T) {
	own, err := ReadStat("/proc", os.Getpid())
	if err != nil || own.Parent != os.Getppid() || own.Start == 0 || Ticks(own.Start) > SinceBoot() {
		t.Errorf("this process: %+v, %v", own, err)
	}
	cmd := exec.Command("sleep", "3600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if s, err := ReadStat("/proc", pid); err != nil || s.Parent != os.Getpid() || s.Start < own.Start {
		t.Errorf("a child: %+v, %v", s, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if s, err := ReadStat("/proc", pid); err == nil && s.State == 'Z' {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("a child that was killed: %+v, %v", s, err)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatal(err)
	}
	if _, err := ReadStat("/proc", pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ended: %v", err)
	}
}

func TestOldest(t *testing.T) {
	root := t.TempDir()
	stat := func(pid, parent int, start string) {
		t.Helper()
		dir := filepath.Join(root, strconv.Itoa(pid))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		line := strings.NewReplacer(" S 1 ", " S "+strconv.Itoa(parent)+" ", "987654", start).Replace("1 (a)" + tail)
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stat(5, 8, "400") // a child of the same tick
	stat(6, 5, "400") // and its own
	stat(7, 1, "500")
	stat(8, 1, "400")
	stat(9, 1, "x")
	for _, tt := range []struct {
		pids  []int
		pid   int
		start uint64
	}{
		{nil, 0, 0},
		{[]int{3, 4}, 0, 0}, // ended
		{[]int{7}, 7, 500},
		{[]int{5, 6, 7, 8}, 8, 400},
		{[]int{8, 7, 6, 3, 5}, 8, 400},
		{[]int{7, 6, 5}, 5, 400},
	} {
		for range 20 { // whatever order a map has
			if pid, start, err := Oldest(root, tt.pids); pid != tt.pid || start != tt.start || err != nil {
				t.Errorf("%v: %d of %d, %v; want %d of %d", tt.pids, pid, start, err, tt.pid, tt.start)
			}
		}
	}
	if _, _, err := Oldest(root, []int{7, 9}); !errors.Is(err, ErrFormat) {
		t.Errorf("malformed: %v", err)
	}
}

// A file that does not say how long it is, and one that is longer than a page.
func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long")
	long := strings.Repeat("0123456789abcdef", 1000)
	if err := os.WriteFile(path, []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{path: long, "/proc/self/comm": ""} {
		if want == "" {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want = string(data)
		}
		if data, err := ReadFile(path); err != nil || string(data) != want {
			t.Errorf("%s: %.64q, %v", path, data, err)
		}
	}
	if _, err := ReadFile(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
