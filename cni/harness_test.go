package cni_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// programDir is where the tests' programs are built, for as long as they run.
var programDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ts-cni-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "cni:", err)
		os.Exit(1)
	}
	programDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// buildPlugin builds cmd/truesize-macvlan once for all tests. Where there is no
// compiler, TRUESIZE_MACVLAN names the program.
var buildPlugin = sync.OnceValues(func() (string, error) {
	if prog := os.Getenv("TRUESIZE_MACVLAN"); prog != "" {
		return prog, nil
	}
	prog := filepath.Join(programDir, "truesize-macvlan")
	cmd := exec.Command("go", "build", "-o", prog, "../cmd/truesize-macvlan")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build truesize-macvlan: %w: %s", err, out)
	}
	return prog, nil
})

// tool returns the path of a program of the tools' module.
func tool(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("TRUESIZE_TOOLS")
	if dir == "" {
		dir = "../bin/tools"
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("this test needs the program %s: run `make tools`, or set TRUESIZE_TOOLS to its directory (%v)", name, err)
	}
	return path
}

// A node is a host of the LAN on which pods are attached.
type node struct {
	*nettest.Host
	t      testing.TB
	dir    string // the node's state, run and IPAM directories
	conf   map[string]any
	plugin string
	path   string // CNI_PATH

	network string // name of the network, where a test looks for leftovers
}

// newNode joins a node with the addresses to the LAN. Its configuration is
// that of a plain macvlan with pods in the subnets.
func newNode(t testing.TB, lan *nettest.LAN, name string, subnets []string, prefixes ...string) *node {
	t.Helper()
	plugin, err := buildPlugin()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Host: lan.Host(name, prefixes...), t: t, dir: t.TempDir(), plugin: plugin, network: "lan"}
	n.path = filepath.Dir(plugin)
	n.conf = map[string]any{
		"cniVersion": "1.1.0", "name": "lan", "type": "truesize-macvlan", "master": "eth0",
		"runDir": filepath.Join(n.dir, "run"), "stateDir": filepath.Join(n.dir, "state"),
	}
	if len(subnets) > 0 {
		ranges := []any{}
		for _, s := range subnets {
			ranges = append(ranges, []any{rangeOf(s)})
		}
		n.conf["ipam"] = map[string]any{"type": "host-local", "dataDir": filepath.Join(n.dir, "ipam"), "ranges": ranges}
	}
	return n
}

// rangeOf reads "subnet", "subnet start-end".
func rangeOf(s string) map[string]any {
	subnet, span, ok := strings.Cut(s, " ")
	r := map[string]any{"subnet": subnet}
	if ok {
		start, end, _ := strings.Cut(span, "-")
		r["rangeStart"], r["rangeEnd"] = start, end
	}
	return r
}

// with returns the configuration changed by pairs of key and value; a nil
// value removes the key.
func (n *node) with(kv ...any) map[string]any {
	c := map[string]any{}
	for k, v := range n.conf {
		c[k] = v
	}
	for i := 0; i < len(kv); i += 2 {
		if kv[i+1] == nil {
			delete(c, kv[i].(string))
		} else {
			c[kv[i].(string)] = kv[i+1]
		}
	}
	return c
}

// A pod is a namespace to attach.
type pod struct {
	*nettest.Host
	id   string
	args string
}

func newPod(t testing.TB, id string) *pod {
	t.Helper()
	return &pod{Host: nettest.NewHost(t, id), id: id}
}

// named gives the pod a Kubernetes name.
func (p *pod) named(namespace, name string) *pod {
	p.args = fmt.Sprintf("IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s", namespace, name)
	return p
}

// command is a call of the plugin on the node.
func (n *node) command(verb string, p *pod, conf any) *exec.Cmd {
	stdin, err := json.Marshal(conf)
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(n.plugin)
	cmd.Env = []string{"CNI_COMMAND=" + verb, "CNI_PATH=" + n.path, "PATH=" + os.Getenv("PATH")}
	if p != nil {
		cmd.Env = append(cmd.Env, "CNI_CONTAINERID="+p.id, "CNI_NETNS="+p.Path, "CNI_IFNAME=eth0", "CNI_ARGS="+p.args)
	}
	cmd.Stdin = bytes.NewReader(stdin)
	return cmd
}

// call runs a verb on the node and returns what it printed, or its error.
func (n *node) call(verb string, p *pod, conf any) ([]byte, error) {
	n.t.Helper()
	cmd := n.command(verb, p, conf)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := n.Run(cmd)
	if err == nil {
		return stdout.Bytes(), nil
	}
	var e types.Error
	if jerr := json.Unmarshal(stdout.Bytes(), &e); jerr != nil {
		n.t.Fatalf("%s: %v, and no CNI error on stdout: %q, stderr %q", verb, err, stdout.String(), stderr.String())
	}
	return nil, &e
}

// tryAdd attaches the pod.
func (n *node) tryAdd(p *pod, conf any) (*current.Result, error) {
	n.t.Helper()
	out, err := n.call("ADD", p, conf)
	if err != nil {
		return nil, err
	}
	var r current.Result
	if err := json.Unmarshal(out, &r); err != nil {
		n.t.Fatalf("result %s: %v", out, err)
	}
	return &r, nil
}

// add attaches the pod, or fails the test.
func (n *node) add(p *pod, conf any) *current.Result {
	n.t.Helper()
	r, err := n.tryAdd(p, conf)
	if err != nil {
		n.t.Fatalf("ADD %s: %v", p.id, err)
	}
	return r
}

// del detaches the pod, or fails the test.
func (n *node) del(p *pod, conf any) {
	n.t.Helper()
	if _, err := n.call("DEL", p, conf); err != nil {
		n.t.Fatalf("DEL %s: %v", p.id, err)
	}
}

// wantCode fails the test unless err is a CNI error of the code.
func wantCode(t testing.TB, err error, code uint) {
	t.Helper()
	var e *types.Error
	if !errors.As(err, &e) {
		t.Errorf("got %v, want a CNI error of code %d", err, code)
	} else if e.Code != code {
		t.Errorf("got code %d (%s), want %d", e.Code, e, code)
	}
}

// ip is the text of the result's i-th address.
func ip(r *current.Result, i int) string { return r.IPs[i].Address.IP.String() }
