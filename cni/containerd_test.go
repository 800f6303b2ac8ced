package cni_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/internal/nettest"
	"github.com/truesize/truesize/cni/reconcile"
	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// inNode names, to the test's second process, the repository it is to take
// programs and images from. That process runs in the node's namespace, and so
// does the containerd it starts.
const inNode = "TRUESIZE_CNI_IN_NODE"

// reached is the file by which the first process tells the second that the
// machine has reached the pod.
const reached = "reached"

// TestContainerdPod: a real containerd attaches a pod by the plugin, with
// address and MAC from the pod's annotations; node, pod and a machine talk
// HTTP. Then it loses a pod.
func TestContainerdPod(t *testing.T) {
	if repo := os.Getenv(inNode); repo != "" {
		podOfContainerd(t, repo)
		return
	}
	tools := filepath.Dir(tool(t, "containerd"))
	lan := nettest.NewLAN(t)
	images := ensureImages(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	vm := lan.Host("vm", "10.9.0.240/24")
	var l net.Listener
	vm.Do(func() (err error) { l, err = net.Listen("tcp", ":80"); return err })
	defer l.Close()
	go func() { _ = http.Serve(l, http.HandlerFunc(greet)) }()

	repo := makeRepo(t, n, tools, images)
	cmd := exec.Command(os.Args[0], "-test.run=^TestContainerdPod$", "-test.v")
	cmd.Env = append(os.Environ(), inNode+"="+repo)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("in the node: %v\n%s", err, out.String())
			}
			wantNoFiles(t, n)
			if n.Has("ts-eth0") {
				t.Error("the shim is left")
			}
			return
		case <-time.After(50 * time.Millisecond):
			if get(vm, "http://10.9.0.50:8080/") == nil {
				must(os.WriteFile(filepath.Join(repo, reached), nil, 0o600))
			}
		}
	}
}

func greet(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "from "+r.RemoteAddr) }

// get asks a server from the host; any answer is one.
func get(h *nettest.Host, url string) error {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = h.NS.Do(func() error { c, err = net.DialTimeout(network, addr, time.Second); return err })
		return c, err
	}}
	resp, err := (&http.Client{Transport: tr, Timeout: 2 * time.Second}).Get(url)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// ensureImages returns the directory of the containers' images, made here if
// they are not there: the node's namespace has no way to Debian's archive.
func ensureImages(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../run/images")
	must(err)
	if _, err := image.Ensure(t.Context(), dir, func(line string) { t.Log(line) }); err != nil {
		t.Fatal(err)
	}
	return dir
}

// makeRepo makes a directory in which the stack finds the tools, our plugin
// among them, the images, and the network's configuration.
func makeRepo(t *testing.T, n *node, tools, images string) string {
	t.Helper()
	repo := t.TempDir()
	dir := filepath.Join(repo, "bin", "tools")
	must(os.MkdirAll(dir, 0o755))
	progs, err := filepath.Glob(filepath.Join(tools, "*"))
	must(err)
	for _, p := range append(progs, n.plugin) {
		must(os.Symlink(p, filepath.Join(dir, filepath.Base(p))))
	}
	must(os.MkdirAll(filepath.Join(repo, "run"), 0o755))
	must(os.Symlink(images, filepath.Join(repo, "run", "images")))
	plugin := n.with("hostAccess", true, "conflictDetection", "fast",
		"capabilities", map[string]bool{"io.kubernetes.cri.pod-annotations": true}, "name", nil, "cniVersion", nil)
	list, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "lan", "plugins": []any{plugin}})
	must(err)
	must(os.WriteFile(filepath.Join(repo, "10-dev.conflist"), list, 0o600))
	return repo
}

// podOfContainerd runs in the node's namespace.
func podOfContainerd(t *testing.T, repo string) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, stack.Options{Repo: repo, Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	// The stack has a network of its own; ours replaces it.
	list, err := os.ReadFile(filepath.Join(repo, "10-dev.conflist"))
	must(err)
	s.StopContainerd()
	must(os.WriteFile(filepath.Join(s.Dir, "cni", "10-dev.conflist"), list, 0o600))
	if err := s.StartContainerd(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := s.Run(ctx, stack.Spec{Image: image.Small,
		Annotations: map[string]string{"truesize.dev/ip": "10.9.0.50", "truesize.dev/mac": "02:00:00:00:00:50"}})
	if err != nil {
		t.Fatal(err)
	}
	if mac, err := c.Shell(ctx, "cat /sys/class/net/eth0/address"); err != nil || mac != "02:00:00:00:00:50" {
		t.Errorf("the pod's MAC is %q, %v", mac, err)
	}
	if out, err := c.Shell(ctx, "busybox httpd -p 8080 -h /"); err != nil {
		t.Fatalf("start the pod's server: %v: %s", err, out)
	}
	waitFor(t, "the HTTP probe from the node passes", func() bool {
		resp, err := http.Get("http://10.9.0.50:8080/")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	out, err := c.Shell(ctx, "busybox wget -q -O- http://10.9.0.240/")
	if err != nil || !strings.Contains(out, "from 10.9.0.50:") {
		t.Errorf("the machine sees the pod as %q, %v", out, err)
	}
	waitFor(t, "the machine reaches the pod", func() bool {
		_, err := os.Stat(filepath.Join(repo, reached))
		return err == nil
	})
	if err := c.Remove(ctx); err != nil {
		t.Errorf("remove the pod: %v", err)
	}
	forgottenByContainerd(ctx, t, s, list)
}

// forgottenByContainerd: containerd loses a pod, as in a crash that takes its
// database and the pod's processes. It never calls DEL for it; the agent's
// part collects it.
func forgottenByContainerd(ctx context.Context, t *testing.T, s *stack.Stack, conflist []byte) {
	c, err := s.Run(ctx, stack.Spec{Image: image.Small})
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Plugins []struct{ RunDir, StateDir string }
	}
	must(json.Unmarshal(conflist, &list))
	runDir, stateDir := list.Plugins[0].RunDir, list.Plugins[0].StateDir
	record := filepath.Join(runDir, "attachments", "lan", c.PodID+"@eth0")
	var rec struct{ Netns string }
	data, err := os.ReadFile(record)
	must(err)
	must(json.Unmarshal(data, &rec))
	r := reconcile.New(reconcile.Config{RunDir: runDir, StateDir: stateDir, Grace: time.Nanosecond,
		Sandboxes: func(ctx context.Context) (map[string]bool, bool) {
			out, err := s.Crictl(ctx, "pods", "-q")
			ids := map[string]bool{}
			for _, id := range strings.Fields(out) {
				ids[id] = true
			}
			return ids, err == nil
		}})
	passes := func() {
		for range 3 { // one more than a pod must be missed in
			if err := r.Pass(ctx); err != nil {
				t.Error(err)
			}
		}
	}
	passes()
	if _, err := os.Stat(record); err != nil {
		t.Errorf("a pod that containerd knows was collected: %v", err)
	}
	pid, err := c.PID(ctx)
	must(err)
	s.StopContainerd()
	killPod(t, pid)
	for _, part := range []string{"io.containerd.metadata.v1.bolt", "io.containerd.grpc.v1.cri"} {
		must(os.RemoveAll(filepath.Join(s.Dir, "root", part)))
	}
	if err := s.StartContainerd(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(rec.Netns); err != nil {
		t.Errorf("the namespace is to outlive the pod: %v", err)
	}
	passes()
	if _, err := os.Stat(record); !os.IsNotExist(err) {
		t.Errorf("the forgotten pod was not collected: %v", err)
	}
}

// killPod ends the processes of the pod that has the process pid: its shim,
// which would clean up, and all that the shim has started.
func killPod(t *testing.T, pid int) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(err)
	_, after, _ := strings.Cut(string(stat), ") ")
	shim, err := strconv.Atoi(strings.Fields(after)[1]) // the parent: proc_pid_stat(5)
	must(err)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", shim, shim))
	must(err)
	must(unix.Kill(shim, unix.SIGKILL))
	for _, f := range strings.Fields(string(children)) {
		child, err := strconv.Atoi(f)
		must(err)
		must(unix.Kill(child, unix.SIGKILL))
	}
	waitFor(t, "the pod's processes end", func() bool { return unix.Kill(pid, 0) != nil })
}
