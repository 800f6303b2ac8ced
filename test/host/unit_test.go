package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/truesize/truesize/test/reads"
)

// unit returns the name and the text of the view's unit, empty without one.
func unit(t *testing.T) (name, text string) {
	t.Helper()
	found, err := filepath.Glob("/run/systemd/system/truesize-viewd-*.service")
	if err != nil || len(found) > 1 {
		t.Fatalf("units %v, %v", found, err)
	}
	if len(found) == 0 {
		return "", ""
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(found[0]), string(data)
}

// wantUnit checks that every process of the view is the unit's, and the
// host's, and that systemd thinks so too.
func wantUnit(t *testing.T) {
	t.Helper()
	name, _ := unit(t)
	await(t, "active unit", func() bool { // while it takes over, it is reloading
		state, _ := exec.Command("systemctl", "is-active", name).CombinedOutput()
		return strings.TrimSpace(string(state)) == "active"
	})
	host, err := os.Readlink("/proc/1/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	st := status(t)
	for _, pid := range []int{st.KeeperPID, st.ServerPID} {
		cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || !strings.Contains(string(cgroups), "/system.slice/"+name+"\n") || strings.Contains(string(cgroups), "truesize-dev") {
			t.Errorf("process %d is in cgroups %s, %v", pid, cgroups, err)
		}
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid)); err != nil || ns != host {
			t.Errorf("process %d is in %s, %v; want %s", pid, ns, err, host)
		}
	}
}

// The agent's pod is deleted: the view goes on, as a unit of systemd's.
func TestPodDeleted(t *testing.T) {
	agent := startAgentPod(t, bin(t))
	wantUnit(t)
	before := status(t)
	r := readPods(t, 2, 4)
	at := reads.Now()
	removePod(t, agent)
	time.Sleep(time.Second) // in which something could follow the pod
	if after := status(t); after.KeeperPID != before.KeeperPID || after.ServerPID != before.ServerPID {
		t.Errorf("before %+v, after %+v", before, after)
	}
	// Without an agent, too, the server has a successor, and so has the keeper.
	kill(t, before.ServerPID)
	answers(t)
	kill(t, before.KeeperPID)
	await(t, "another keeper", func() bool { return status(t).KeeperPID != before.KeeperPID })
	wantUnit(t)
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, []int64{at}, "")
}

func kill(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if pid == 0 {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("kill %d: %v", pid, err)
		}
	}
}

// The agent's pod runs out of memory.
func TestPodOutOfMemory(t *testing.T) {
	agent := startAgentPod(t, bin(t))
	before := status(t)
	r := readPods(t, 2, 4)
	pid, err := agent.PID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The kernel takes the agent first, and then what took the memory.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0); err != nil {
		t.Fatal(err)
	}
	at := reads.Now()
	_, _ = agent.Shell(t.Context(), "echo -999 > /proc/self/oom_score_adj; dd if=/dev/zero of=/dev/null bs=1G")
	await(t, "end of the agent", func() bool {
		out, err := node.Crictl(t.Context(), "inspect", "--output", "go-template", "--template", "{{.status.state}} {{.status.reason}}", agent.ID)
		return err == nil && strings.Contains(out, "CONTAINER_EXITED OOMKilled")
	})
	answers(t)
	if after := status(t); after.KeeperPID != before.KeeperPID || after.ServerPID != before.ServerPID {
		t.Errorf("before %+v, after %+v", before, after)
	}
	wantUnit(t)
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, []int64{at}, "")
}

// The DaemonSet is rolled out: an agent of a newer version replaces the old
// one, and the view with it, and then back.
func TestRollout(t *testing.T) {
	agent := startAgentPod(t, bin(t))
	old := status(t)
	r := readPods(t, 2, 4)
	var moments []int64
	for _, to := range []struct{ bin, version string }{{programs(t, "v2"), "v2"}, {bin(t), old.Version}} {
		was := status(t)
		removePod(t, agent)
		moments = append(moments, reads.Now())
		agent = startAgentPod(t, to.bin)
		await(t, "the version "+to.version, func() bool {
			st := status(t)
			return st.Version == to.version && st.Serving && st.KeeperPID != was.KeeperPID && st.ServerPID != was.ServerPID
		})
		await(t, "the old keeper's end", func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d", was.KeeperPID)); return err != nil })
		wantUnit(t)
		if _, text := unit(t); !strings.Contains(text, status(t).Binary) {
			t.Errorf("the unit is not of %s:\n%s", status(t).Binary, text)
		}
	}
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, moments, "")
}

// All of the view's processes are killed at once while no agent is there:
// systemd starts it again, and it repairs the containers' mounts.
func TestUnitIsRestarted(t *testing.T) {
	agent := startAgentPod(t, bin(t))
	spec := small()
	c := startPod(t, spec)
	removePod(t, agent)
	st := status(t)
	if err := syscall.Kill(st.KeeperPID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	kill(t, st.SparePID, st.ServerPID, st.KeeperPID)
	await(t, "another keeper and server", func() bool {
		now := status(t)
		return now.Serving && now.KeeperPID != st.KeeperPID
	})
	await(t, "the container's size", func() bool { return sized(t, c, spec) })
	wantUnit(t)
}
