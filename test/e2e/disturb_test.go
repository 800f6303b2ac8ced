package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// disturb reads while something happens to the agent, and checks that no
// reader noticed, that the view's processes are the same, and that the next
// container is sized.
func disturb(t *testing.T, happen func()) {
	t.Helper()
	install(t)
	before := status(t)
	r := readPods(t)
	happen()
	unchanged(t, before)
	works(t)
	clean(t, r.Stop(), 1)
}

// The agent's pod is deleted.
func TestPodDeleted(t *testing.T) {
	disturb(t, func() {
		kubectl(t, "-n", "truesize", "delete", "pods", "-l", agentPods, "--timeout="+generous.String())
		rolledOut(t)
	})
}

// agentPods selects the agent's.
const agentPods = "app.kubernetes.io/name=truesize"

// The agent's container runs out of memory.
func TestPodOutOfMemory(t *testing.T) {
	disturb(t, func() {
		agent := pid(t, "truesize", agentPods)
		// The kernel takes the agent first, and what took the memory after that.
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", agent), []byte("1000"), 0); err != nil {
			t.Fatal(err)
		}
		hog := exec.Command("/proc/self/exe")
		hog.Env = append(os.Environ(), fmt.Sprintf("%s=%d", hogVar, agent))
		if out, err := hog.CombinedOutput(); err == nil || len(out) > 0 {
			t.Fatalf("it did not run out of memory: %v: %s", err, out)
		}
		await(t, "end of the agent for want of memory", func() bool {
			reason := kubectl(t, "-n", "truesize", "get", "pods", "-l", agentPods,
				"-o", "jsonpath={.items[0].status.containerStatuses[0].lastState.terminated.reason}")
			return reason == "OOMKilled"
		})
		rolledOut(t)
	})
}

// hogVar says whose memory this process is to use up.
const hogVar = "TRUESIZE_E2E_HOG"

// hogRole uses up the memory of the cgroup of another process, and ends by
// that, where this process is to do so.
func hogRole() {
	if os.Getenv(hogVar) == "" {
		return
	}
	fmt.Println(hog(os.Getenv(hogVar)))
	os.Exit(0)
}

func hog(pid string) error {
	dir, err := memoryCgroup(pid)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0); err != nil {
		return err
	}
	var all [][]byte
	for range 1 << 10 {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		all = append(all, block)
	}
	runtime.KeepAlive(all)
	return fmt.Errorf("%d MiB did not use up the memory of %s", len(all), dir)
}

// memoryCgroup returns the directory of the cgroup that bounds a process's
// memory.
func memoryCgroup(pid string) (string, error) {
	f, err := os.Open("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		field := strings.SplitN(lines.Text(), ":", 3)
		switch {
		case field[1] == "memory":
			return "/sys/fs/cgroup/memory" + field[2], nil
		case field[1] == "" && exists("/sys/fs/cgroup"+field[2]+"/memory.max"):
			return "/sys/fs/cgroup" + field[2], nil
		}
	}
	return "", fmt.Errorf("process %s is in no memory cgroup", pid)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// The DaemonSet is rolled out with an image of another version, then back, is
// restarted, and gets another configuration.
func TestRollout(t *testing.T) {
	install(t)
	old := status(t)
	const version = "e2e-next"
	archive := nextImage(t, version)
	next, err := reference(archive)
	if err == nil {
		err = node.LoadImage(t.Context(), archive)
	}
	if err != nil {
		t.Fatal(err)
	}
	change := func(args ...string) func() {
		return func() { kubectl(t, append([]string{"-n", "truesize"}, args...)...) }
	}
	steps := []struct {
		change  func()
		version string
	}{
		{change("set", "image", "daemonset/truesize", "agent="+next), version},
		{change("rollout", "undo", "daemonset/truesize"), old.Version},
		{change("rollout", "restart", "daemonset/truesize"), old.Version},
		{func() { kubectl(t, "apply", "-k", reconfigured(t)) }, old.Version},
	}
	r := readPods(t)
	for _, step := range steps {
		was, agent := status(t), pid(t, "truesize", agentPods)
		step.change()
		rolledOut(t)
		await(t, "view of version "+step.version, func() bool {
			st := status(t)
			replaced := st.KeeperPID != was.KeeperPID && st.ServerPID != was.ServerPID
			return st.Serving && st.Version == step.version && replaced == (was.Version != step.version)
		})
		if pid(t, "truesize", agentPods) == agent {
			t.Error("the agent was not replaced")
		}
		works(t)
	}
	clean(t, r.Stop(), len(steps))
}

// reconfigured returns a kustomization with another configuration.
func reconfigured(t *testing.T) string {
	t.Helper()
	dir := overlay(t, "")
	const replacement = "configMapGenerator: [{name: truesize, namespace: truesize, behavior: replace, files: [truesize.yaml]}]\n"
	path := filepath.Join(dir, "kustomization.yaml")
	base, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{path: string(base) + replacement, filepath.Join(dir, "truesize.yaml"): "log: {level: debug}\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// nextImage makes an image of the same programs that call themselves another
// version.
func nextImage(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	stamp := "-s -w -X github.com/truesize/truesize/pkg/version.version=" + version
	archive := filepath.Join(dir, "next.tar")
	for _, args := range [][]string{
		{"build", "-trimpath", "-ldflags", stamp, "-o", dir + "/", "../../cmd/truesized", "../../cmd/truesize-viewd", "../../cmd/truesize"},
		{"run", "../../deploy/image", "-version", version, "-arch", runtime.GOARCH, "-o", archive,
			filepath.Join(dir, "truesized"), filepath.Join(dir, "truesize-viewd"), filepath.Join(dir, "truesize")},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v: %s", args, err, out)
		}
	}
	return archive
}

// The kubelet is restarted.
func TestKubeletRestarted(t *testing.T) {
	disturb(t, func() {
		cluster.StopKubelet()
		if err := cluster.StartKubelet(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := cluster.AwaitNode(t.Context()); err != nil {
			t.Fatal(err)
		}
		rolledOut(t)
	})
}

// containerd is killed and started again: the agent registers with it anew.
func TestContainerdRestarted(t *testing.T) {
	disturb(t, func() {
		node.KillContainerd()
		if err := node.StartContainerd(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := cluster.AwaitNode(t.Context()); err != nil {
			t.Fatal(err)
		}
		rolledOut(t)
	})
}

// readPause is what readers leave between two reads.
const readPause = time.Millisecond

// pause lets the node do something.
func pause() { time.Sleep(100 * time.Millisecond) }
