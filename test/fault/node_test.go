// Package fault holds the fault matrix of docs/reliability.md: what may happen
// to the view on a node, and that no container notices.
package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
	"github.com/truesize/truesize/test/cgroups"
	"github.com/truesize/truesize/test/reads"
	"golang.org/x/sys/unix"
)

// The test binary plays parts: see TestMain.
const roleVar = "FAULT_TEST_ROLE"

// generous is how long something may take before a test gives up on it.
const generous = 20 * time.Second

func TestMain(m *testing.M) {
	reads.Role()
	var err error
	switch os.Getenv(roleVar) {
	case "":
		status := m.Run()
		for _, path := range built.path {
			_ = os.RemoveAll(filepath.Dir(path))
		}
		os.Exit(status)
	case "crasher":
		err = playCrasher()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// scaled returns how many events a test makes: the long count if
// TRUESIZE_SOAK is set, or what TRUESIZE_EVENTS says.
func scaled(short, long int) int {
	if n, err := strconv.Atoi(os.Getenv("TRUESIZE_EVENTS")); err == nil {
		return n
	}
	if os.Getenv("TRUESIZE_SOAK") != "" {
		return long
	}
	return short
}

// A container is one of a node's, without a runtime.
type container struct {
	id     string
	size   size.Size
	cgroup map[string]string
}

// A node is a run directory with a view and containers.
type node struct {
	t          *testing.T
	dir        string
	binary     string
	reg        *registry.Dir
	containers []container
	cmd        *exec.Cmd
}

// newNode returns a node with so many containers, whose view does not run yet.
func newNode(t *testing.T, containers int) *node {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs root")
		}
		t.Skip("this test needs root")
	}
	n := &node{t: t, dir: t.TempDir(), binary: filepath.Join(t.TempDir(), "truesize-viewd")}
	if err := os.Link(viewd(t, "v1"), n.binary); err != nil {
		t.Fatal(err)
	}
	n.reopen()
	for i := range containers {
		c := container{id: fmt.Sprintf("c%d", i), size: size.Size{CPUs: 2 + i%4, Memory: uint64(256+i) << 20}}
		c.cgroup = cgroups.Make(t, c.id)
		n.containers = append(n.containers, c)
		n.register(c)
	}
	return n
}

func (n *node) reopen() {
	n.t.Helper()
	var err error
	if n.reg, err = registry.Open(n.path("containers")); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) register(c container) {
	n.t.Helper()
	if err := n.put(c); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) put(c container) error {
	return n.reg.Put(&registry.Container{
		ID: c.id, Name: c.id, Pod: "pod", Namespace: "ns", BootID: "b", CreatedAt: time.Now(),
		Cgroup: c.cgroup, Decision: size.Decision{Size: c.size},
	})
}

func (n *node) path(elem ...string) string { return filepath.Join(append([]string{n.dir}, elem...)...) }

// start starts the keeper and waits for the view.
func (n *node) start() {
	n.t.Helper()
	n.spawn()
	n.t.Cleanup(n.stop)
	n.answers()
}

func (n *node) command(args ...string) *exec.Cmd {
	return exec.Command(n.binary, append([]string{"--run-dir", n.dir}, args...)...)
}

// spawn starts a keeper and does not wait for anything.
func (n *node) spawn(args ...string) {
	n.t.Helper()
	n.cmd = n.command(args...)
	log, err := os.OpenFile(n.dir+".log", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	n.cmd.Stderr = log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	go n.cmd.Wait()
}

// logged returns what the view's processes logged.
func (n *node) logged() string {
	data, _ := os.ReadFile(n.dir + ".log")
	return string(data)
}

// startReaders has so many threads read the files of every container.
func (n *node) startReaders(threads int, pause time.Duration) *reads.Readers {
	n.t.Helper()
	var targets []reads.Target
	for _, c := range n.containers {
		for _, f := range reads.Files() {
			targets = append(targets, reads.Target{Path: n.path("view", c.id, f), CPUs: c.size.CPUs, KiB: c.size.Memory >> 10})
		}
	}
	return reads.Start(n.t, nil, threads, pause, targets)
}

// counted returns what the view has counted, for a line of figures.
func (n *node) counted() string {
	n.t.Helper()
	var list []string
	all := n.status().Counters
	for _, name := range []string{"starts", "hangs", "reanswered", "degraded", "host_files", "adoptions", "takeovers", "upgrades"} {
		if v := all[name]; v > 0 {
			list = append(list, fmt.Sprintf("%s %d", name, v))
		}
	}
	return strings.Join(list, ", ")
}

// answers waits until the view does.
func (n *node) answers() {
	n.t.Helper()
	n.await("the view to answer", func() bool {
		data, err := os.ReadFile(n.path("view/.truesize/version"))
		return err == nil && len(data) > 0
	})
}

// stop ends the view as an admin does, whoever its keeper is by now.
func (n *node) stop() {
	st, err := n.ask(keeper.Request{Op: keeper.OpStatus})
	for range 300 { // a keeper that was killed has a successor soon
		if err == nil || errors.Is(err, os.ErrNotExist) {
			break
		}
		time.Sleep(10 * time.Millisecond)
		st, err = n.ask(keeper.Request{Op: keeper.OpStatus})
	}
	if err == nil {
		_ = syscall.Kill(st.KeeperPID, syscall.SIGTERM)
		n.await("the keeper's end", func() bool { return gone(st.KeeperPID) })
	}
	for range 200 { // a spare whose keeper was killed takes its time to be sure
		if len(n.processes()) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, pid := range n.processes() {
		n.t.Errorf("process %d is left", pid)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = unix.Unmount(n.path("view"), unix.MNT_DETACH)
	_ = unix.Unmount(n.dir, unix.MNT_DETACH)
	if n.t.Failed() && !n.t.Skipped() {
		n.t.Logf("log of the view:\n%s", n.logged())
	}
}

// processes returns those that work in the run directory.
func (n *node) processes() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || gone(pid) {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if strings.Contains(string(cmdline), "--run-dir\x00"+n.dir+"\x00") || strings.HasSuffix(string(cmdline), "--run-dir\x00"+n.dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// gone reports whether a process has ended: it may stay a zombie where the
// machine's init does not reap.
func gone(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

func (n *node) ask(r keeper.Request) (keeper.Reply, error) {
	return keeper.Ask(n.path("keeper.sock"), r)
}

// status waits for a keeper to tell its state: there is none for an instant
// after the last was killed.
func (n *node) status() (st keeper.Reply) {
	n.t.Helper()
	n.await("a keeper to answer", func() bool {
		var err error
		st, err = n.ask(keeper.Request{Op: keeper.OpStatus})
		return err == nil
	})
	return st
}

// server waits for a server to run and returns its pid.
func (n *node) server() (pid int) {
	n.t.Helper()
	n.await("a server", func() bool {
		st := n.status()
		pid = st.ServerPID
		return st.Serving && !gone(pid)
	})
	return pid
}

func (n *node) await(what string, ok func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(generous); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("no %s within %v; log of the view:\n%s", what, generous, n.logged())
		}
	}
}

// kill sends a signal and returns when, of CLOCK_MONOTONIC.
func (n *node) kill(pid int, sig syscall.Signal) int64 {
	n.t.Helper()
	at := reads.Now()
	if err := syscall.Kill(pid, sig); err != nil {
		n.t.Fatalf("signal %v to %d: %v", sig, pid, err)
	}
	return at
}
