package e2e

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/reads"
)

// tellOnFailure prints, when the test has failed, what the view and the agent
// have to say: the next test may remove their logs.
func tellOnFailure(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		log, _ := os.ReadFile(filepath.Join(runDir, "viewd.log"))
		unit, _ := exec.Command("systemctl", "status", "--no-pager", "--full", "truesize-viewd").CombinedOutput()
		agent, _ := cluster.Kubectl(context.Background(), "", "-n", "truesize", "logs", "daemonset/truesize", "--tail=100")
		pods, _ := cluster.Kubectl(context.Background(), "", "get", "pods", "-A", "-o", "wide")
		t.Logf("viewd.log:\n%s\nunit:\n%s\nagent:\n%s\npods:\n%s", log, unit, agent, pods)
	})
}

// generous is how long something may take before a test gives up on it.
const generous = 2 * time.Minute

// Where the agent's image has its directories by default.
const (
	runDir   = "/run/truesize"
	stateDir = "/var/lib/truesize"
)

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(generous); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, generous)
		}
	}
}

// kubectl runs kubectl, which must work.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cluster.Kubectl(t.Context(), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// reference returns the name of an archive's image.
func reference(archive string) (string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", fmt.Errorf("%w: make image builds it", err)
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err != nil {
			return "", fmt.Errorf("%s: no index: %w", archive, err)
		}
		if h.Name != "index.json" {
			continue
		}
		var index struct {
			Manifests []struct{ Annotations map[string]string }
		}
		data, err := io.ReadAll(tr)
		if err := errors.Join(err, json.Unmarshal(data, &index)); err != nil || len(index.Manifests) != 1 {
			return "", fmt.Errorf("%s: index %s, %w", archive, data, err)
		}
		return index.Manifests[0].Annotations["io.containerd.image.name"], nil
	}
}

// overlay returns a kustomization that takes a directory of deploy/kubernetes
// with the image of make image, as docs/install.md has it.
func overlay(t *testing.T, base string) string {
	t.Helper()
	dir, err := os.MkdirTemp(node.Dir, "overlay-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	from, err := filepath.Abs(filepath.Join("../../deploy/kubernetes", base))
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(dir, from)
	if err != nil {
		t.Fatal(err)
	}
	name, tag, _ := strings.Cut(agentReference, ":")
	text := fmt.Sprintf("resources: [%s]\nimages: [{name: localhost/truesize, newName: %s, newTag: %q}]\n", relative, name, tag)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rolledOut waits until every pod of the agent is ready and of the latest
// version.
func rolledOut(t *testing.T) {
	t.Helper()
	kubectl(t, "-n", "truesize", "rollout", "status", "daemonset/truesize", "--timeout="+generous.String())
}

// install installs the agent. Where it is, nothing happens.
func install(t *testing.T) {
	t.Helper()
	tellOnFailure(t)
	kubectl(t, "apply", "-k", overlay(t, ""))
	rolledOut(t)
}

// A workload is a pod of one container that a test makes.
type workload struct {
	name        string
	namespace   string // "default" if empty
	image       string // the small one if empty
	annotations map[string]string
	limits      string // YAML, as {cpu: "1", memory: 256Mi}
	requests    string // little if empty, that all tests' pods have a place
}

func (w workload) space() string {
	return or(w.namespace, "default")
}

// start runs workloads for the length of the test, and waits until they run.
func start(t *testing.T, list ...workload) {
	t.Helper()
	var yaml strings.Builder
	for _, w := range list {
		annotations, err := json.Marshal(w.annotations)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&yaml, `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}, annotations: %[4]s}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: %[3]q, command: [sleep, "86400"], resources: {limits: %[5]s, requests: %[6]s}}
`, w.name, w.space(), or(w.image, image.Small), annotations, or(w.limits, "{}"), or(w.requests, "{cpu: 10m, memory: 16Mi}"))
	}
	if out, err := cluster.Kubectl(t.Context(), yaml.String(), "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, w := range list {
		t.Cleanup(func() { remove(t, w) })
	}
	for _, w := range list {
		kubectl(t, "-n", w.space(), "rollout", "status", "deployment/"+w.name, "--timeout="+generous.String())
	}
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// remove deletes a workload and waits until its pods are gone.
func remove(t *testing.T, w workload) {
	t.Helper()
	for _, args := range [][]string{
		{"delete", "deployment", w.name, "--ignore-not-found"},
		{"wait", "pods", "--for=delete", "-l", "app=" + w.name, "--timeout=" + generous.String()},
	} {
		// The test's context has ended.
		if _, err := cluster.Kubectl(context.Background(), "", append([]string{"-n", w.space()}, args...)...); err != nil {
			t.Error(err)
		}
	}
}

// pod returns the name of a workload's pod.
func pod(t *testing.T, w workload) string {
	t.Helper()
	return kubectl(t, "-n", w.space(), "get", "pods", "-l", "app="+w.name, "-o", "jsonpath={.items[0].metadata.name}")
}

// shell runs a command line in a workload's container.
func shell(t *testing.T, w workload, line string) string {
	t.Helper()
	return strings.TrimSpace(kubectl(t, "-n", w.space(), "exec", "deployment/"+w.name, "--", "sh", "-c", line))
}

// containerID returns the runtime's id of the one container of the pods that a
// selector selects.
func containerID(t *testing.T, namespace, selector string) string {
	t.Helper()
	id := kubectl(t, "-n", namespace, "get", "pods", "-l", selector, "-o", "jsonpath={.items[0].status.containerStatuses[0].containerID}")
	return strings.TrimPrefix(id, "containerd://")
}

// pid returns the first process of the one container of the pods that a
// selector selects.
func pid(t *testing.T, namespace, selector string) int {
	t.Helper()
	out, err := node.Crictl(t.Context(), "inspect", "--output", "go-template", "--template", "{{.info.pid}}", containerID(t, namespace, selector))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// size is of the workloads that [readers] reads.
const size = `{cpu: "1", memory: 256Mi}`

// targets returns the files of a workload of that size, through its mounts.
func targets(t *testing.T, w workload) (list []reads.Target) {
	t.Helper()
	p := pid(t, w.space(), "app="+w.name)
	for _, f := range reads.Files() {
		list = append(list, reads.Target{Path: fmt.Sprintf("/proc/%d/root/%s", p, f), CPUs: 1, KiB: 256 << 10})
	}
	return list
}

// readPods starts two workloads, and readers of all their files.
func readPods(t *testing.T) *reads.Readers {
	t.Helper()
	list := []workload{{name: "read-1", limits: size}, {name: "read-2", limits: size}}
	start(t, list...)
	var all []reads.Target
	for _, w := range list {
		all = append(all, targets(t, w)...)
	}
	return reads.Start(t, nil, 4, readPause, all)
}

// clean checks that no read failed and none was wrong, and logs the figures of
// docs/reliability.md: of all reads, for these events last for seconds.
func clean(t *testing.T, p reads.Report, events int) {
	t.Helper()
	p.Clean(t)
	longest := p.Quantile(1)
	if slow := p.Waits(nil, 0); len(slow) > 0 {
		longest = slow[len(slow)-1]
	}
	t.Logf("FIGURES %s: %d events, %d reads, %d failed, %d wrong, p99 %v, longest %v",
		t.Name(), events, p.Reads, p.Failed, p.Wrong, p.Quantile(0.99), longest.Round(10*time.Microsecond))
}

// sized reports whether a workload sees its size.
func sized(t *testing.T, w workload) bool {
	t.Helper()
	data, err := os.ReadFile(targets(t, w)[0].Path)
	return err == nil && strings.Contains(string(data), " 262144 kB\n")
}

// status waits for the keeper's answer.
func status(t *testing.T) (st keeper.Reply) {
	t.Helper()
	await(t, "keeper's answer", func() bool {
		var err error
		st, err = keeper.Ask(filepath.Join(runDir, "keeper.sock"), keeper.Request{Op: keeper.OpStatus})
		return err == nil
	})
	return st
}

// unchanged checks that the view's processes are those of before.
func unchanged(t *testing.T, before keeper.Reply) {
	t.Helper()
	if after := status(t); after.KeeperPID != before.KeeperPID || after.ServerPID != before.ServerPID {
		t.Errorf("the view's processes: before %+v, after %+v", before, after)
	}
}

// works checks that a container created now gets its size.
func works(t *testing.T) {
	t.Helper()
	w := workload{name: "next", limits: size}
	start(t, w)
	await(t, "size of a new container", func() bool { return sized(t, w) })
}
