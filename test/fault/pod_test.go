package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/test/cgroups"
)

// Started from a pod, the view is the host's: neither the pod's cgroup nor its
// mount namespace is its own, and it outlives both.
func TestOutlivesItsPod(t *testing.T) {
	n := newNode(t, 2)
	pod := cgroups.Make(t, "pod")
	own := fmt.Sprintf("truesize-fault-%d-own", os.Getpid())
	t.Cleanup(func() {
		for controller := range pod {
			dir := cgroupDir(controller, "/"+own)
			n.await("removal of "+dir, func() bool { // a spare that was killed takes a moment to go
				err := os.Remove(dir)
				return err == nil || errors.Is(err, os.ErrNotExist)
			})
		}
	})
	script := ""
	for controller, path := range pod {
		dir := cgroupDir(controller, path)
		fill(t, dir)
		script += "echo $$ > " + dir + "/cgroup.procs; "
	}
	// The pod: a mount namespace and cgroups; "the host" is this test's.
	script += fmt.Sprintf("exec unshare --mount sh -c '%s --run-dir %s --host-ns /proc/%d/ns/mnt --cgroup %s 2>>%s.log & wait'", n.binary, n.dir, os.Getpid(), own, n.dir)
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stop)
	n.answers()
	n.register(n.containers[0]) // so that there is something to read
	r := n.startReaders(2, time.Millisecond)
	st := n.status()
	host, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{st.KeeperPID, st.ServerPID} {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid)); err != nil || ns != host {
			t.Errorf("process %d is in %s, %v; want %s", pid, ns, err, host)
		}
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || strings.Contains(string(data), filepath.Base(pod["memory"]+pod[""])) || !strings.Contains(string(data), ":/"+own) {
			t.Errorf("process %d is in cgroups %s, %v", pid, data, err)
		}
	}
	// The pod is deleted: all that is in its cgroups is killed.
	for controller, path := range pod {
		data, err := os.ReadFile(filepath.Join(cgroupDir(controller, path), "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(string(data)) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	_ = cmd.Wait()
	n.kill(n.server(), syscall.SIGKILL)
	n.answers()
	if after, err := n.ask(keeper.Request{Op: keeper.OpStatus}); err != nil || after.KeeperPID != st.KeeperPID {
		t.Errorf("the keeper was %d, %+v, %v", st.KeeperPID, after, err)
	}
	r.Stop().Clean(t)
}

// cgroupDir returns where a controller's cgroup is.
func cgroupDir(controller, path string) string {
	if controller != "" {
		return filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(controller, "name="), path)
	}
	if dir := filepath.Join("/sys/fs/cgroup/unified", path); exists(dir) {
		return dir
	}
	return filepath.Join("/sys/fs/cgroup", path)
}

// fill makes a cgroup of v1's cpuset usable.
func fill(t *testing.T, dir string) {
	t.Helper()
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if all, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file)); err == nil && exists(filepath.Join(dir, file)) {
			if err := os.WriteFile(filepath.Join(dir, file), all, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
