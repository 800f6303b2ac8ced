package fault

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/fuse/view"
	"github.com/truesize/truesize/test/cgroups"
	"github.com/truesize/truesize/test/reads"
	"golang.org/x/sys/unix"
)

// A binary that is broken or gone: the keeper answers from the snapshots, and
// a server comes back by itself once there is one.
func TestNoServer(t *testing.T) {
	for name, broken := range map[string]func(*testing.T, string){
		"broken binary": func(t *testing.T, path string) {
			replace(t, path, []byte("#!/bin/false\n"))
		},
		"truncated binary": func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			replace(t, path, data[:len(data)/2])
		},
		"missing binary": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 5)
			n.start()
			time.Sleep(100 * time.Millisecond) // every file has been seen once
			r := n.startReaders(8, time.Millisecond)
			server := n.server()
			broken(t, n.binary)
			n.killSpare()
			at := n.kill(server, syscall.SIGKILL)
			n.await("the keeper to answer", func() bool { return n.status().Degraded })
			time.Sleep(500 * time.Millisecond)
			good, err := os.ReadFile(viewd(t, "v1"))
			if err != nil {
				t.Fatal(err)
			}
			replace(t, n.binary, good)
			n.await("a server again", func() bool { return n.status().Serving })
			n.answers()
			p := r.Stop()
			p.Clean(t)
			p.Figures(t, []int64{at}, n.counted())
			if c := n.status().Counters; c["degraded"] == 0 || c["host_files"] != 0 {
				t.Errorf("counted %v", c)
			}
		})
	}
}

// A file that nobody has seen yet is shown as the host's.
func TestNoServerNoSnapshot(t *testing.T) {
	n := newNode(t, 0)
	n.start()
	replace(t, n.binary, []byte("#!/bin/false\n"))
	n.killSpare()
	n.kill(n.server(), syscall.SIGKILL)
	n.await("the keeper to answer", func() bool { return n.status().Degraded })
	n.register(container{id: "late", size: newNodeSize, cgroup: map[string]string{}})
	host, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(n.path("view/late/proc/cpuinfo"))
	if err != nil || bytes.Count(got, []byte("processor\t:")) != bytes.Count(host, []byte("processor\t:")) {
		t.Errorf("%.80q, %v; want the host's file", got, err)
	}
	if _, err := os.ReadFile(n.path("view/nobody/proc/cpuinfo")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a container that is none: %v", err)
	}
	if n.status().Counters["host_files"] == 0 {
		t.Error("not counted")
	}
}

// killSpare kills the server that waits, if there is one.
func (n *node) killSpare() {
	n.t.Helper()
	if pid := n.status().SparePID; pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		n.await("the spare's end", func() bool { return n.status().SparePID != pid })
	}
}

func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	temp := path + ".new"
	if err := os.WriteFile(temp, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// A server that dies of one file: that file is answered by the keeper, with
// its last snapshot, the others by servers.
func TestServerDiesOfOneFile(t *testing.T) {
	t.Setenv(roleVar, "crasher")
	n := newNode(t, 3)
	n.start()
	// So that every file has been seen.
	for _, c := range n.containers {
		for _, f := range reads.Files() {
			if _, err := os.ReadFile(n.path("view", c.id, f)); err != nil {
				t.Fatal(err)
			}
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.ask(keeper.Request{Op: keeper.OpUpgrade, Binary: exe}); err != nil {
		t.Fatal(err)
	}
	r := n.startReaders(4, time.Millisecond)
	n.await("the keeper to answer for the file", func() bool { return n.status().Counters["degraded"] >= 3 })
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, nil, n.counted())
	if _, err := n.ask(keeper.Request{Op: keeper.OpUpgrade, Binary: n.binary}); err != nil {
		t.Fatal(err)
	}
	n.answers()
}

// playCrasher is a server that keeps every file as it was last seen, and dies
// of one of them.
func playCrasher() error {
	log := slog.New(slog.DiscardHandler)
	link, err := keeper.Inherit(os.Args, os.Stderr, log)
	if err != nil {
		return err
	}
	files := view.Files(50 * time.Millisecond)
	tree, err := fuse.NewTree(files)
	if err != nil {
		return err
	}
	s, err := fuse.New(fuse.Options{Tree: tree, Version: "crasher", Threads: 2, Kept: link.Memory})
	if err != nil {
		return err
	}
	deadly := slices.IndexFunc(files, func(f fuse.File) bool { return f.Path == "proc/loadavg" })
	for _, id := range []string{"c0", "c1", "c2"} {
		if err := s.Put(id, crasher(deadly)); err != nil {
			return err
		}
	}
	if err := link.Ready(); err != nil {
		return err
	}
	go link.Run(context.Background(), s.Since())
	return s.Serve(context.Background(), link.Fuse)
}

type crasher int

func (c crasher) Render(dst []byte, file int) ([]byte, error) {
	if file == int(c) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Second)
	}
	return dst, errors.New("as it was")
}

// Out of descriptors: nothing can be opened any more by the server.
func TestOutOfDescriptors(t *testing.T) {
	n := newNode(t, 5)
	n.start()
	r := n.startReaders(8, time.Millisecond)
	server := n.server()
	var old unix.Rlimit
	if err := unix.Prlimit(server, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(server, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
	late := container{id: "late", size: newNodeSize, cgroup: cgroups.Make(t, "late")}
	n.register(late)
	time.Sleep(300 * time.Millisecond)
	if data, err := os.ReadFile(n.path("view/late/sys/devices/system/cpu/online")); err == nil && len(data) == 0 {
		t.Error("an empty file")
	}
	if err := unix.Prlimit(server, unix.RLIMIT_NOFILE, &old, nil); err != nil {
		t.Fatal(err)
	}
	n.await("the container that came meanwhile", func() bool {
		data, err := os.ReadFile(n.path("view/late/sys/devices/system/cpu/online"))
		return err == nil && string(data) == "0-6\n"
	})
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, nil, n.counted())
}

// The run directory's file system is full.
func TestDiskFull(t *testing.T) {
	n := newNode(t, 5)
	small := n.dir + ".small"
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	if out, err := exec.Command("cp", "-a", n.path("containers"), small).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.dir = small
	n.reopen()
	n.start()
	r := n.startReaders(8, time.Millisecond)
	filler := filepath.Join(small, "filler")
	if err := os.WriteFile(filler, make([]byte, 4<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the file system does not get full: %v", err)
	}
	late := container{id: "late", size: newNodeSize, cgroup: cgroups.Make(t, "late")}
	if err := n.put(late); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a registration: %v, want %v", err, unix.ENOSPC)
	}
	n.kill(n.server(), syscall.SIGKILL)
	n.answers()
	time.Sleep(200 * time.Millisecond)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	n.register(late)
	if data, err := os.ReadFile(n.path("view/late/sys/devices/system/cpu/online")); err != nil || string(data) != "0-6\n" {
		t.Errorf("after there was room again: %q, %v", data, err)
	}
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, nil, n.counted())
}
