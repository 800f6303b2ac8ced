package fault

import (
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
	"github.com/truesize/truesize/pkg/attach"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
	"github.com/truesize/truesize/test/reads"
	"golang.org/x/sys/unix"
)

var newNodeSize = size.Size{CPUs: 7, Memory: 700 << 20}

// run starts a process in namespaces of its own as container c, attaches its
// view and returns the command that runs others there.
func (n *node) run(c container) (inside []string) {
	n.t.Helper()
	cmd := exec.Command("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "mount -t sysfs sysfs /sys && exec sleep infinity")
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var pid int
	n.await("a container", func() bool {
		p := cmd.Process.Pid
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p, p))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(children)))
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return strings.TrimSpace(string(comm)) == "sleep"
	})
	if err := n.reg.Put(&registry.Container{
		ID: c.id, BootID: "b", CreatedAt: time.Now(), PID: pid, Cgroup: c.cgroup, Decision: size.Decision{Size: c.size},
	}); err != nil {
		n.t.Fatal(err)
	}
	var files []attach.File
	for _, f := range reads.Files() {
		files = append(files, attach.File{Source: n.path("view", c.id, f), Target: "/" + f})
	}
	results, err := attach.New(attach.Options{RunDir: n.dir}).Attach(n.t.Context(), attach.Process{PID: pid}, files)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, r := range results {
		if r.Outcome != attach.Attached {
			n.t.Fatalf("attach: %+v", r)
		}
	}
	return []string{"nsenter", "--target", strconv.Itoa(pid), "--mount", "--pid"}
}

func (c container) targets() (list []reads.Target) {
	for _, f := range reads.Files() {
		list = append(list, reads.Target{Path: "/" + f, CPUs: c.size.CPUs, KiB: c.size.Memory >> 10})
	}
	return list
}

// Containers read through mounts of their own while servers die and are
// replaced.
func TestContainersNotice(t *testing.T) {
	n := newNode(t, 2)
	n.start()
	var rs []*reads.Readers
	for _, c := range n.containers {
		rs = append(rs, reads.Start(t, n.run(c), 2, time.Millisecond, c.targets()))
	}
	for range scaled(5, 50) {
		server := n.server()
		n.kill(server, syscall.SIGKILL)
		// Where nothing is left of the server is another fault: TestAllKilled.
		n.await("another server", func() bool { pid := n.status().ServerPID; return pid != 0 && pid != server })
		time.Sleep(between())
		n.kill(n.status().KeeperPID, syscall.SIGKILL)
		n.answers()
		n.status() // there is a keeper again
		if _, err := n.ask(keeper.Request{Op: keeper.OpUpgrade, Binary: viewd(t, "v2")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range rs {
		r.Stop().Clean(t)
	}
}

// Both processes are killed at once, which nothing survives: the next keeper
// repairs the containers' mounts, and none is restarted.
func TestAllKilled(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	c := n.containers[0]
	inside := n.run(c)
	st := n.status()
	n.kill(st.KeeperPID, syscall.SIGSTOP)
	if st.SparePID != 0 {
		n.kill(st.SparePID, syscall.SIGKILL)
	}
	n.kill(st.ServerPID, syscall.SIGKILL)
	n.kill(st.KeeperPID, syscall.SIGKILL)
	n.await("the loss", func() bool {
		out, _ := n.inside(inside, "cat", "/proc/meminfo")
		return strings.Contains(out, "not connected")
	})
	n.start()
	n.await("the repair", func() bool {
		return n.repaired(inside, c)
	})
	reads.Start(t, inside, 2, time.Millisecond, c.targets()).Stop().Clean(t)
}

// Keeper and server are killed at once, but the spare is not: it serves, and
// starts a keeper.
func TestSpareSurvives(t *testing.T) {
	n := newNode(t, 2)
	n.start()
	n.await("a spare", func() bool { return n.status().SparePID != 0 })
	time.Sleep(200 * time.Millisecond) // loaded
	r := n.startReaders(4, time.Millisecond)
	st := n.status()
	n.kill(st.KeeperPID, syscall.SIGSTOP)
	at := n.kill(st.ServerPID, syscall.SIGKILL)
	n.kill(st.KeeperPID, syscall.SIGKILL)
	n.await("the spare to serve", func() bool {
		now := n.status()
		return now.ServerPID == st.SparePID && now.Serving
	})
	n.answers()
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, []int64{at}, n.counted())
}

// The connection is aborted by root, through fusectl.
func TestConnectionAborted(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	c := n.containers[0]
	inside := n.run(c)
	control := filepath.Join(t.TempDir(), "connections")
	if err := os.Mkdir(control, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("fusectl", control, "fusectl", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(control, unix.MNT_DETACH) })
	for range 2 {
		var st unix.Stat_t
		if err := unix.Stat(n.path("view"), &st); err != nil {
			t.Fatal(err)
		}
		abort := filepath.Join(control, fmt.Sprint(unix.Minor(st.Dev)), "abort")
		if err := os.WriteFile(abort, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		n.await("the view and its repair", func() bool {
			return n.repaired(inside, c)
		})
		n.answers()
	}
	reads.Start(t, inside, 2, time.Millisecond, c.targets()).Stop().Clean(t)
}

// repaired reports whether every file of a container is its own again.
func (n *node) repaired(inside []string, c container) bool {
	var list []string
	for _, t := range c.targets() {
		list = append(list, t.Path)
	}
	out, err := n.inside(inside, append([]string{"cat"}, list...)...)
	return err == nil && strings.Contains(out, fmt.Sprint(c.size.Memory>>10)) && strings.Contains(out, fmt.Sprintf("0-%d\n", c.size.CPUs-1))
}

// Stopped as an admin stops it, the view leaves containers with the host's
// files, and nothing behind.
func TestStopped(t *testing.T) {
	n := newNode(t, 1)
	mounts := allMounts(t)
	n.start()
	inside := n.run(n.containers[0])
	n.stop()
	out, err := n.inside(inside, "cat", "/proc/meminfo")
	if err != nil || strings.Contains(out, fmt.Sprint(n.containers[0].size.Memory>>10)) {
		t.Errorf("%.80q, %v; want the host's", out, err)
	}
	if after := allMounts(t); after != mounts {
		t.Errorf("mounts before:\n%s\nafter:\n%s", mounts, after)
	}
	for _, name := range []string{"keeper.sock", "viewd.sock"} {
		if _, err := os.Stat(n.path(name)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

func (n *node) inside(prefix []string, command ...string) (string, error) {
	argv := append(append([]string(nil), prefix...), command...)
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	return string(out), err
}

func asNobody(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}

// startOf returns field 22 of a process's stat.
func startOf(t *testing.T, pid int) uint64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	ticks, err := strconv.ParseUint(strings.Fields(rest)[19], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return ticks
}
