package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/truesize/truesize/pkg/size"
	"github.com/truesize/truesize/test/cgroups"
)

// A file that is read at a steady pace is prepared by a process that holds
// nothing of the view, and that ends with the server.
func TestPreparedReads(t *testing.T) {
	s := newStack(t)
	s.register("c", size.Size{CPUs: 2, Memory: 256 * mib}, cgroups.Make(t, "steady"))
	s.start()
	reader := exec.Command("sh", "-c", `while cat "$0" >/dev/null; do sleep 0.6; done`, s.path("c", "proc/meminfo"))
	reader.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-reader.Process.Pid, syscall.SIGKILL)
		_ = reader.Wait()
	}()
	const sample = "truesize_viewd_prepared_reads_total"
	s.await("a read to be prepared", func() bool { return s.metric(sample) > 0 })
	pid := preparers(t, s.path("", ""))
	if len(pid) != 1 {
		t.Fatalf("%d processes prepare", len(pid))
	}
	wantNoViewFiles(t, pid[0])

	// It is killed: the next preparation starts another, or none for a while.
	if err := syscall.Kill(pid[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	before := s.metric(sample)
	s.await("another to prepare", func() bool { return s.metric(sample) > before+1 })
	s.stop()
	s.await("the preparing process to end", func() bool { return len(preparers(t, s.path("", ""))) == 0 })
}

// preparers are the processes that read the view below dir ahead.
func preparers(t *testing.T, dir string) (pids []int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		data, err := os.ReadFile(path)
		if args := bytes.Split(data, []byte{0}); err == nil && len(args) == 4 &&
			string(args[1]) == string(prepares) && string(args[2]) == filepath.Clean(dir) {
			var pid int
			fmt.Sscanf(path, "/proc/%d/", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// wantNoViewFiles: were it to hold the connection, the view would not end with
// those that serve it.
func wantNoViewFiles(t *testing.T, pid int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink(filepath.Join(dir, fd.Name()))
		if strings.Contains(to, "/dev/fuse") || strings.Contains(to, "memfd") || strings.Contains(to, "socket") {
			t.Errorf("it holds %s", to)
		}
	}
}

// What it is told to read stays below the view.
func TestPrepareReadsLocalNamesOnly(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "..", filepath.Base(dir)+".fifo") // opening it would hang
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(fifo)
	names := "missing\n../" + filepath.Base(fifo) + "\n" + fifo + "\n\n"
	if err := prepareReads(dir, strings.NewReader(names)); err != nil {
		t.Error(err)
	}
}
