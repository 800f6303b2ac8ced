package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/reads"
	"github.com/truesize/truesize/test/stack"
)

// generous is how long something may take before a test gives up on it.
const generous = 60 * time.Second

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(generous); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, generous)
		}
	}
}

// startPod runs a container for the length of the test, or until it is removed.
func startPod(t *testing.T, spec stack.Spec) *stack.Container {
	t.Helper()
	c, err := node.Run(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removePod(t, c) })
	return c
}

func removePod(t *testing.T, c *stack.Container) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Remove(ctx); err != nil && !strings.Contains(err.Error(), "not found") {
		t.Error(err)
	}
}

// small describes a container of 1 CPU and 256 MiB.
func small() stack.Spec {
	return stack.Spec{Image: image.Small, CPUMilli: 1000, Memory: 256 << 20}
}

// startAgentPod starts the agent in a pod as its DaemonSet does: privileged,
// with the host's processes, and the directories that it shares with the host.
func startAgentPod(t *testing.T, bin string) *stack.Container {
	t.Helper()
	config, err := node.ConfigureAgent(bin, "")
	if err != nil {
		t.Fatal(err)
	}
	c := startPod(t, stack.Spec{
		Namespace: "kube-system", Image: image.Small, Memory: 200 << 20, Privileged: true, HostPID: true,
		Command: []string{filepath.Join(bin, "truesized"), "--config", config},
		Mounts: []stack.Mount{
			{Source: bin, Target: bin, ReadOnly: true},
			{Source: node.Dir, Target: node.Dir, Shared: true},
			{Source: "/sys/fs/cgroup", Target: "/sys/fs/cgroup"},
		},
	})
	awaitAgent(t)
	return c
}

// awaitAgent waits until the agent says that it is ready.
func awaitAgent(t *testing.T) {
	t.Helper()
	await(t, "ready agent", func() bool {
		_, ok := agentGet("/readyz")
		return ok
	})
}

// programs returns a directory with the agent and the view as version v.
func programs(t *testing.T, v string) string {
	t.Helper()
	dir, err := os.MkdirTemp(node.Dir, "bin-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X github.com/truesize/truesize/pkg/version.version="+v,
		"-o", dir, "../../cmd/truesized", "../../cmd/truesize-viewd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return dir
}

// bin returns where make build has put the programs.
func bin(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// inside returns the files of a container, through its own mounts.
func inside(t *testing.T, c *stack.Container, spec stack.Spec) (list []reads.Target) {
	t.Helper()
	pid, err := c.PID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range reads.Files() {
		list = append(list, reads.Target{
			Path: fmt.Sprintf("/proc/%d/root/%s", pid, f), CPUs: int(spec.CPUMilli+999) / 1000, KiB: uint64(spec.Memory) >> 10,
		})
	}
	return list
}

// readPods starts so many containers and readers in all of them.
func readPods(t *testing.T, pods, threads int) *reads.Readers {
	t.Helper()
	var targets []reads.Target
	for i := range pods {
		spec := small()
		spec.Memory += int64(i) << 20
		targets = append(targets, inside(t, startPod(t, spec), spec)...)
	}
	return reads.Start(t, nil, threads, time.Millisecond, targets)
}

// sized reports whether a container sees its own size, which a start without
// the agent does not give it.
func sized(t *testing.T, c *stack.Container, spec stack.Spec) bool {
	t.Helper()
	out, err := os.ReadFile(inside(t, c, spec)[0].Path)
	return err == nil && bytes.Contains(out, fmt.Appendf(nil, " %d kB\n", spec.Memory>>10))
}

// status waits for the keeper's answer.
func status(t *testing.T) (st keeper.Reply) {
	t.Helper()
	await(t, "keeper's answer", func() bool {
		var err error
		st, err = keeper.Ask(filepath.Join(node.RunDir(), "keeper.sock"), keeper.Request{Op: keeper.OpStatus})
		return err == nil
	})
	return st
}

// answers waits until the view does.
func answers(t *testing.T) {
	t.Helper()
	await(t, "answer of the view", func() bool {
		data, err := os.ReadFile(filepath.Join(node.RunDir(), "view/.truesize/version"))
		return err == nil && len(data) > 0
	})
}

// countLines counts the lines with a part in them.
func countLines(text, part string) (n int) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}
