package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
	"golang.org/x/sys/unix"
)

// generous is how long something may take before a test gives up on it.
const generous = 30 * time.Second

// serverEnv makes the test binary the server itself.
const serverEnv = "TRUESIZE_TEST_VIEWD"

func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A stack is a server with its run directory. What the view shows is read by
// other processes only: the test does not serve it, so that may be itself.
type stack struct {
	t   *testing.T
	dir string
	reg *registry.Dir
	cmd *exec.Cmd
	log *bytes.Buffer
}

func newStack(t *testing.T) *stack {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	s := &stack{t: t, dir: t.TempDir()}
	var err error
	if s.reg, err = registry.Open(filepath.Join(s.dir, "containers")); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stack) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{"--run-dir", s.dir}, args...)...)
	cmd.Env = append(os.Environ(), serverEnv+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// start starts the server and waits until the view answers.
func (s *stack) start(args ...string) {
	s.t.Helper()
	s.cmd, s.log = s.command(args...), new(bytes.Buffer)
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.cmd
	s.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			s.stop()
		}
	})
	s.await("the view to answer", func() bool {
		data, err := os.ReadFile(filepath.Join(s.dir, "view/.truesize/version"))
		return err == nil && len(data) > 0
	})
}

// stop ends the server as an admin does.
func (s *stack) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Error(err)
	}
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("after SIGTERM: %v; %s", err, s.log)
	}
	if m := s.mounts(); m != "" {
		s.t.Errorf("left mounted: %s", m)
	}
}

// kill kills keeper and server at once, which neither can do anything about.
func (s *stack) kill() {
	s.t.Helper()
	st := s.status()
	_ = syscall.Kill(st.KeeperPID, syscall.SIGSTOP)
	_ = syscall.Kill(st.ServerPID, syscall.SIGKILL)
	_ = syscall.Kill(st.KeeperPID, syscall.SIGKILL)
	_ = s.cmd.Wait()
}

func (s *stack) status() keeper.Reply {
	s.t.Helper()
	st, err := keeper.Ask(filepath.Join(s.dir, "keeper.sock"), keeper.Request{Op: keeper.OpStatus})
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *stack) mounts() (found string) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, " "+s.dir) {
			found += line
		}
	}
	return found
}

func (s *stack) await(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(generous); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waiting for %s; server: %s", what, s.log)
		}
	}
}

// register writes the entry of a container of the cgroup.
func (s *stack) register(id string, z size.Size, cgroup map[string]string) {
	s.t.Helper()
	err := s.reg.Put(&registry.Container{
		ID: id, Name: "app", Pod: "pod", Namespace: "ns", BootID: "b", CreatedAt: time.Now(),
		Cgroup: cgroup, Decision: size.Decision{Size: z},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stack) path(id, file string) string { return filepath.Join(s.dir, "view", id, file) }

func (s *stack) read(id, file string) string {
	s.t.Helper()
	data, err := os.ReadFile(s.path(id, file))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

// metric returns the value of a sample, 0 when there is none.
func (s *stack) metric(sample string) float64 {
	s.t.Helper()
	conn, err := net.Dial("unix", filepath.Join(s.dir, "viewd.sock"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	data, err := io.ReadAll(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, sample+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// descriptors is the number of files that the server has open.
func (s *stack) descriptors() int {
	s.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.status().ServerPID))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(entries)
}

// makeCgroup makes a cgroup in every hierarchy there is and returns its paths.
func makeCgroup(t *testing.T, name string) map[string]string {
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
		if !strings.HasPrefix(point, "/sys/fs/cgroup") || !strings.HasPrefix(f[0], "cgroup") {
			continue
		}
		dir := filepath.Join(point, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if f[0] == "cgroup2" {
			paths[""] = "/" + name
			continue
		}
		for _, controller := range strings.Split(f[2], ",") {
			paths[controller] = "/" + name
		}
		for _, set := range []string{"cpuset.cpus", "cpuset.mems"} {
			if all, err := os.ReadFile(filepath.Join(point, set)); err == nil {
				if err := os.WriteFile(filepath.Join(dir, set), all, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return paths
}

// inCgroup runs a shell command line in the cgroup.
func inCgroup(t *testing.T, paths map[string]string, script string) *exec.Cmd {
	t.Helper()
	var join string
	for controller, p := range paths {
		dir := filepath.Join("/sys/fs/cgroup", controller, p)
		if controller == "" {
			if dir = filepath.Join("/sys/fs/cgroup/unified", p); !exists(dir) {
				dir = filepath.Join("/sys/fs/cgroup", p)
			}
		}
		if exists(dir) {
			join += "echo $$ > " + dir + "/cgroup.procs; "
		}
	}
	cmd := exec.Command("sh", "-c", join+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

const mib = 1 << 20

func TestContainerSeesItsSize(t *testing.T) {
	s := newStack(t)
	s.start()
	s.register("c1", size.Size{CPUs: 3, Memory: 256 * mib, Swap: 64 * mib}, makeCgroup(t, "size"))
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
	cg := makeCgroup(t, "resize")
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

// The numbers of /proc/stat go on after all of it was killed, and over the
// stale mount that it left.
func TestKilledAll(t *testing.T) {
	s := newStack(t)
	s.start()
	cg := makeCgroup(t, "killed")
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

func userTicks(t *testing.T, s *stack) int {
	t.Helper()
	f := strings.Fields(s.read("c1", "proc/stat"))
	n, err := strconv.Atoi(f[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// An entry that goes bad leaves the container the size it has; one that is bad
// from the beginning shows the host's files; both are counted, and end when
// the entry is repaired.
func TestBadEntry(t *testing.T) {
	s := newStack(t)
	cg := makeCgroup(t, "bad")
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
	cg := makeCgroup(t, "vanished")
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
		return s.metric(`truesize_viewd_render_errors_total{file="proc/meminfo",reason="cgroup_gone"}`) > 0
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
	cg := makeCgroup(t, "many")
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
	s.register("c1", size.Size{CPUs: 2, Memory: 256 * mib}, makeCgroup(t, "bound"))
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
	cg := makeCgroup(t, "load")
	s.register("c1", size.Size{CPUs: 2, Memory: 256 * mib}, cg)
	s.register("idle", size.Size{CPUs: 2, Memory: 256 * mib}, makeCgroup(t, "idle"))
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
	conn, err := net.Dial("unix", filepath.Join(s.dir, "viewd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	problems, err := promlint.New(conn).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
