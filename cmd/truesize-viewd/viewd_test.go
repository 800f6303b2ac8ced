package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/pkg/size"
	"github.com/truesize/truesize/test/cgroups"
	"golang.org/x/sys/unix"
)

const mib = 1 << 20

func TestContainerSeesItsSize(t *testing.T) {
	s := newStack(t)
	s.start()
	s.register("c1", size.Size{CPUs: 3, Memory: 256 * mib, Swap: 64 * mib}, cgroups.Make(t, "size"))
	if got := s.read("c1", "proc/meminfo"); !strings.HasPrefix(got, "MemTotal:         262144 kB\n") {
		t.Errorf("meminfo: %.60q", got)
	}
	if got := strings.Count(s.read("c1", "proc/cpuinfo"), "processor\t:"); got != 3 {
		t.Errorf("cpuinfo has %d processors", got)
	}
	if got := s.read("c1", "sys/devices/system/cpu/online"); got != "0-2\n" {
		t.Errorf("online: %q", got)
	}
	if got := s.read("c1", "proc/stat"); strings.Count(got, "\ncpu") != 3 || !strings.Contains(got, "\nprocs_running 1\n") {
		t.Errorf("stat: %q", got)
	}
	if got := s.read("c1", "proc/swaps"); !strings.Contains(got, "\t65536\t") {
		t.Errorf("swaps: %q", got)
	}
	for _, f := range []string{"uptime", "loadavg", "diskstats"} {
		if got := s.read("c1", "proc/"+f); got == "" || strings.ContainsRune(got, 0) {
			t.Errorf("%s: %q", f, got)
		}
	}
	if n := s.metric(`truesize_viewd_containers`); n != 1 {
		t.Errorf("%v containers counted", n)
	}
}

func TestSizeChanges(t *testing.T) {
	s := newStack(t)
	s.start()
	cg := cgroups.Make(t, "resize")
	s.register("c1", size.Size{CPUs: 1, Memory: 256 * mib}, cg)
	s.read("c1", "proc/cpuinfo")
	s.read("c1", "proc/meminfo")
	s.register("c1", size.Size{CPUs: 7, Memory: 512 * mib}, cg)
	s.await("the new size", func() bool {
		return strings.Count(s.read("c1", "proc/cpuinfo"), "processor\t:") == 7 &&
			strings.HasPrefix(s.read("c1", "proc/meminfo"), "MemTotal:         524288 kB\n") &&
			s.read("c1", "sys/devices/system/cpu/online") == "0-6\n"
	})
}

// The numbers of /proc/stat go on after the server is killed, and over the
// stale mount that it left.
func TestKilledAll(t *testing.T) {
	s := newStack(t)
	s.start()
	cg := cgroups.Make(t, "killed")
	s.register("c1", size.Size{CPUs: 2, Memory: 256 * mib}, cg)
	inCgroup(t, cg, "while :; do :; done")
	s.await("CPU time", func() bool { return userTicks(t, s) >= 20 })
	for range 3 {
		before := userTicks(t, s)
		s.kill()
		s.await("the kernel to notice", func() bool {
			_, err := os.ReadFile(s.path("c1", "proc/stat"))
			return errors.Is(err, unix.ENOTCONN)
		})
		s.start()
		if after := userTicks(t, s); after < before {
			t.Errorf("user time went from %d to %d ticks", before, after)
		}
	}
	if n := strings.Count(s.mounts(), "fuse.truesize"); n != 1 {
		t.Errorf("%d views mounted", n)
	}
}

// Whoever keeps the view in the end, a start in the background has worked when
// it is served: systemd ends all processes of a start that has not.
func TestKeeperKilledWhileStarting(t *testing.T) {
	for range 5 {
		s := newStack(t)
		start := s.command("--background")
		if err := start.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.command("--stop").Run() })
		ask := func() (keeper.Reply, bool) {
			st, err := keeper.Ask(filepath.Join(s.dir, "keeper.sock"), keeper.Request{Op: keeper.OpStatus})
			return st, err == nil
		}
		first := 0
		s.await("a server", func() bool {
			st, ok := ask()
			first = st.KeeperPID
			return ok && st.ServerPID != 0
		})
		_ = unix.Kill(first, unix.SIGKILL)
		if err := start.Wait(); err != nil {
			t.Error(err)
		}
		s.await("another keeper", func() bool {
			st, ok := ask()
			return ok && st.Serving && st.KeeperPID != first
		})
		if out, err := s.command("--stop").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// Nobody reads the log any more: the view is served as before.
func TestLogNobodyReads(t *testing.T) {
	s := newStack(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	start := s.command("--background")
	start.Stderr = write
	t.Cleanup(func() {
		if out, err := s.command("--stop").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if m := s.mounts(); m != "" {
			t.Errorf("left mounted: %s", m)
		}
	})
	if err := errors.Join(start.Run(), write.Close(), read.Close()); err != nil {
		t.Fatal(err)
	}
	first := s.status()
	_ = unix.Kill(first.ServerPID, unix.SIGKILL) // which the keeper logs
	s.await("another server", func() bool {
		st := s.status()
		return st.Serving && st.ServerPID != first.ServerPID
	})
	if st := s.status(); st.KeeperPID != first.KeeperPID {
		t.Errorf("keeper %d, want %d", st.KeeperPID, first.KeeperPID)
	}
}

func userTicks(t *testing.T, s *stack) int { return cpuTicks(t, s, 1) }
func idleTicks(t *testing.T, s *stack) int { return cpuTicks(t, s, 4) }

// cpuTicks returns a column of the first line of /proc/stat.
func cpuTicks(t *testing.T, s *stack, column int) int {
	t.Helper()
	f := strings.Fields(s.read("c1", "proc/stat"))
	n, err := strconv.Atoi(f[column])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What no cgroup tells survives the server too: the idle time of CPUs that the
// container had once.
func TestKilledServerKeepsIdleTime(t *testing.T) {
	s := newStack(t)
	s.start()
	cg := cgroups.Make(t, "idle-time")
	s.register("c1", size.Size{CPUs: 200, Memory: 256 * mib}, cg)
	s.await("idle time", func() bool { return idleTicks(t, s) >= 200*50 })
	s.register("c1", size.Size{CPUs: 1, Memory: 256 * mib}, cg)
	s.await("the new size", func() bool { return s.read("c1", "sys/devices/system/cpu/online") == "0\n" })
	before := idleTicks(t, s)
	s.kill()
	s.start()
	if after := idleTicks(t, s); after < before {
		t.Errorf("idle time went from %d to %d ticks", before, after)
	}
}

// An entry that goes bad leaves the container the size it has; one that is bad
// from the beginning shows the host's files; both are counted, and end when
// the entry is repaired.
func TestBadEntry(t *testing.T) {
	s := newStack(t)
	cg := cgroups.Make(t, "bad")
	z := size.Size{CPUs: 3, Memory: 256 * mib}
	s.register("good", z, cg)
	s.register("bad", z, cg)
	corrupt := func(id string) {
		if err := os.WriteFile(filepath.Join(s.dir, "containers", id, "container.json"), []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	corrupt("bad")
	s.start()
	hostCPUs, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.read("bad", "sys/devices/system/cpu/online"); got != string(hostCPUs) {
		t.Errorf("with a bad entry: online %q", got)
	}
	if got := s.read("bad", "proc/meminfo"); !strings.HasPrefix(got, "MemTotal:") || strings.Contains(got, " 262144 kB") {
		t.Errorf("with a bad entry: %.60q", got)
	}
	if s.metric("truesize_viewd_bad_entries") != 1 || s.metric(`truesize_viewd_fallback_reads_total{file="proc/meminfo"}`) == 0 ||
		s.metric(`truesize_viewd_render_errors_total{file="proc/meminfo",reason="bad_entry"}`) == 0 {
		t.Error("not counted")
	}
	s.read("good", "proc/cpuinfo")
	corrupt("good")
	s.await("the bad entry to be seen", func() bool { return s.metric("truesize_viewd_bad_entries") == 2 })
	if got := s.read("good", "sys/devices/system/cpu/online"); got != "0-2\n" {
		t.Errorf("the last good size is gone: %q", got)
	}
	s.register("good", size.Size{CPUs: 2, Memory: 256 * mib}, cg)
	s.register("bad", z, cg)
	s.await("the repaired entries", func() bool {
		return s.read("good", "sys/devices/system/cpu/online") == "0-1\n" &&
			s.read("bad", "sys/devices/system/cpu/online") == "0-2\n" &&
			strings.HasPrefix(s.read("bad", "proc/meminfo"), "MemTotal:         262144 kB\n")
	})
	if n := s.metric("truesize_viewd_bad_entries"); n != 0 {
		t.Errorf("%v bad entries", n)
	}
}

// A cgroup that vanishes shows the host's file in the container's length, or
// the last snapshot.
func TestVanishedCgroup(t *testing.T) {
	s := newStack(t)
	s.start()
	cg := cgroups.Make(t, "vanished")
	s.register("c1", size.Size{CPUs: 1, Memory: 256 * mib}, cg)
	before := map[string]int{}
	files := []string{"proc/meminfo", "proc/stat", "proc/uptime", "proc/swaps", "proc/diskstats", "proc/loadavg"}
	for _, f := range files {
		before[f] = len(s.read("c1", f))
	}
	for controller, p := range cg {
		for _, dir := range []string{controller, "unified"} {
			_ = os.Remove(filepath.Join("/sys/fs/cgroup", dir, p))
		}
	}
	s.await("the loss to be counted", func() bool {
		s.read("c1", "proc/meminfo")
		return s.metric(`truesize_viewd_render_errors_total{file="proc/meminfo",reason="cgroup_gone"}`) > 2 &&
			s.metric(`truesize_viewd_fallback_reads_total{file="proc/meminfo"}`) > 2
	})
	for _, f := range files {
		time.Sleep(60 * time.Millisecond) // past the freshness bound
		if got := s.read("c1", f); len(got) != before[f] || strings.ContainsRune(got, 0) {
			t.Errorf("%s: %d bytes, were %d", f, len(got), before[f])
		}
	}
	if n := s.metric("truesize_viewd_panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
}

// Containers that come and go leave no descriptor behind.
func TestRemovedContainersFreeTheirFiles(t *testing.T) {
	s := newStack(t)
	s.start()
	cg := cgroups.Make(t, "many")
	round := func() {
		for i := range 20 {
			s.register(fmt.Sprint("c", i), size.Size{CPUs: 2, Memory: 256 * mib}, cg)
		}
		for i := range 20 {
			for _, f := range []string{"proc/meminfo", "proc/stat", "proc/diskstats"} {
				s.read(fmt.Sprint("c", i), f)
			}
		}
		for i := range 20 {
			if err := s.reg.Remove(fmt.Sprint("c", i)); err != nil {
				t.Fatal(err)
			}
		}
		s.await("the containers to go", func() bool { return s.metric("truesize_viewd_containers") == 0 })
	}
	round()
	before := s.descriptors()
	for range 3 {
		round()
	}
	s.await("descriptors to be closed", func() bool { return s.descriptors() <= before })
}

func TestSecondServerIsRefused(t *testing.T) {
	s := newStack(t)
	s.start()
	out, err := s.command().CombinedOutput()
	if err == nil || !strings.Contains(string(out), "viewd.lock") {
		t.Errorf("got %v, %s", err, out)
	}
	if _, err := os.ReadFile(filepath.Join(s.dir, "view/.truesize/version")); err != nil {
		t.Error(err)
	}
}

// SIGTERM ends the server also while a container holds a file of the view.
func TestStopWhileBound(t *testing.T) {
	s := newStack(t)
	s.start()
	s.register("c1", size.Size{CPUs: 2, Memory: 256 * mib}, cgroups.Make(t, "bound"))
	target := filepath.Join(t.TempDir(), "meminfo")
	if err := os.WriteFile(target, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(s.path("c1", "proc/meminfo"), target, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(target, unix.MNT_DETACH)
	if data, err := os.ReadFile(target); err != nil || !bytes.HasPrefix(data, []byte("MemTotal:         262144 kB\n")) {
		t.Errorf("%.60q, %v", data, err)
	}
	s.stop()
}

// The load follows what runs in the container, at any depth.
func TestLoad(t *testing.T) {
	s := newStack(t)
	s.start()
	cg := cgroups.Make(t, "load")
	s.register("c1", size.Size{CPUs: 2, Memory: 256 * mib}, cg)
	s.register("idle", size.Size{CPUs: 2, Memory: 256 * mib}, cgroups.Make(t, "idle"))
	inCgroup(t, cg, "while :; do :; done & while :; do :; done & wait")
	s.await("the load", func() bool {
		f := strings.Fields(s.read("c1", "proc/loadavg"))
		load, err := strconv.ParseFloat(f[0], 64)
		return err == nil && load > 0.1 && strings.HasSuffix(f[3], "/3") && !strings.HasPrefix(f[3], "0/") && f[4] != "0"
	})
	if got := s.read("idle", "proc/loadavg"); !strings.HasPrefix(got, "0.00 0.00 0.00 1/1 0") {
		t.Errorf("idle: %q", got)
	}
}

func TestFlags(t *testing.T) {
	for name, args := range map[string][]string{
		"freshness": {"--freshness", "0s"},
		"threads":   {"--threads", "1"},
		"argument":  {"extra"},
		"unknown":   {"--nonsense"},
		"log level": {"--log-level", "loud"},
	} {
		if err := run(context.Background(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	var out bytes.Buffer
	if err := run(context.Background(), []string{"--version"}, &out, io.Discard); err != nil || !strings.Contains(out.String(), "go1") {
		t.Errorf("--version: %q, %v", out.String(), err)
	}
}

// What the socket says is what Prometheus reads, named by its conventions.
func TestExposition(t *testing.T) {
	s := newStack(t)
	s.start()
	conn := s.dial()
	defer conn.Close()
	problems, err := promlint.New(conn).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
