package fault

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/registry"
)

// truesize runs the admin's command, built once.
func (n *node) truesize(args ...string) (string, error) {
	n.t.Helper()
	path := filepath.Join(filepath.Dir(viewd(n.t, "v1")), "truesize")
	if _, err := os.Stat(path); err != nil {
		cmd := exec.Command("go", "build", "-o", path, "github.com/truesize/truesize/cmd/truesize")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			n.t.Fatalf("build: %v: %s", err, out)
		}
	}
	out, err := exec.Command(path, append([]string{"--run-dir", n.dir}, args...)...).CombinedOutput()
	return string(out), err
}

func (n *node) mustTruesize(args ...string) string {
	n.t.Helper()
	out, err := n.truesize(args...)
	if err != nil {
		n.t.Fatalf("truesize %v: %v\n%s", args, err, out)
	}
	return out
}

func (n *node) wantInside(inside []string, c container, sized bool) {
	n.t.Helper()
	out, err := n.inside(inside, "cat", "/proc/meminfo")
	if err != nil || strings.Contains(out, fmt.Sprintf(" %d kB", c.size.Memory>>10)) != sized {
		n.t.Errorf("%.60q, %v; want the container's own size: %t", out, err, sized)
	}
}

// entry changes the registry's entry of a container.
func (n *node) entry(id string, change func(*registry.Container)) {
	n.t.Helper()
	c, err := n.reg.Get(id)
	if err != nil {
		n.t.Fatal(err)
	}
	change(c)
	if err := n.reg.Put(c); err != nil {
		n.t.Fatal(err)
	}
}

func TestAttachDetachCommands(t *testing.T) {
	n := newNode(t, 2)
	n.start()
	earlier, other := n.containers[0], n.containers[1]
	in0, in1 := n.run(earlier), n.run(other)
	n.mustTruesize("detach", "--all")
	n.wantInside(in0, earlier, false)
	n.wantInside(in1, other, false)
	if c, err := n.reg.Get(earlier.id); err != nil || c.Skipped != "detached" {
		t.Errorf("the entry says %+v, %v", c, err)
	}

	n.entry(earlier.id, func(c *registry.Container) { c.Skipped = "created-earlier" })
	n.mustTruesize("attach", earlier.id)
	n.wantInside(in0, earlier, true)
	n.wantInside(in1, other, false)
	if c, err := n.reg.Get(earlier.id); err != nil || c.Skipped != "" || len(c.Mounts) == 0 {
		t.Errorf("the entry says %+v, %v", c, err)
	}
	if out := n.mustTruesize("attach", earlier.id); !strings.Contains(out, "present") {
		t.Errorf("a second time: %s", out)
	}

	n.entry(other.id, func(c *registry.Container) { c.Skipped = "privileged" })
	if out, err := n.truesize("attach", other.id); err == nil || !strings.Contains(out, "privileged") {
		t.Errorf("a privileged container: %v, %s", err, out)
	}
	n.mustTruesize("attach", "--all")
	n.wantInside(in1, other, false)
	if out := n.mustTruesize("repair"); !strings.Contains(out, "nothing to repair") {
		t.Errorf("repair: %s", out)
	}
	n.mustTruesize("detach", earlier.id)
	n.stop()
	if out, err := n.truesize("attach", earlier.id); err == nil || !strings.Contains(out, "files were refused") {
		t.Errorf("without a view: %v, %s", err, out)
	}
	for _, args := range [][]string{{"attach"}, {"attach", "a", "--all"}, {"detach", "nobody"}} {
		if out, err := n.truesize(args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}

// After an uninstallation the node is as before.
func TestUninstall(t *testing.T) {
	n := newNode(t, 2)
	state := n.dir + ".state"
	if err := os.MkdirAll(filepath.Join(state, "shim/0123"), 0o755); err != nil {
		t.Fatal(err)
	}
	mounts := allMounts(t)
	n.start()
	inside := n.run(n.containers[0])
	n.entry(n.containers[0].id, func(c *registry.Container) { c.Mounts = []string{"/proc/meminfo"} })

	// Not while the agent runs.
	lock, err := os.OpenFile(n.path("agent.lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if out, err := n.truesize("uninstall", "--state-dir", state); err == nil || !strings.Contains(out, "DaemonSet") {
		t.Errorf("with the agent: %v, %s", err, out)
	}
	n.wantInside(inside, n.containers[0], true)
	lock.Close()

	n.mustTruesize("uninstall", "--state-dir", state)
	n.wantInside(inside, n.containers[0], false)
	if after := allMounts(t); after != mounts {
		t.Errorf("mounts before:\n%s\nafter:\n%s", mounts, after)
	}
	for _, dir := range []string{n.dir, state} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	n.await("the processes' end", func() bool { return len(n.processes()) == 0 })
	n.mustTruesize("uninstall", "--state-dir", state) // again is no error
	time.Sleep(10 * time.Millisecond)
}

// allMounts returns the mounts of this node but for those of other tests that
// may run beside this one.
func allMounts(t *testing.T) (list string) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if point := strings.Fields(line)[1]; !strings.HasPrefix(point, "/tmp/") && !strings.HasPrefix(point, "/var/tmp/") || strings.Contains(point, t.Name()) {
			list += line
		}
	}
	return list
}
