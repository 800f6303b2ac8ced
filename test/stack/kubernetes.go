package stack

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/truesize/truesize/test/cgroups"
)

//go:embed kubelet.yaml.tmpl
var kubeletConfig string

// NodeName is the node of a [Kubernetes].
const NodeName = "node"

// nodeAddress is the node's. It is on the loopback link, which the node has to
// itself.
const nodeAddress = "10.254.0.1"

// A Kubernetes is a cluster of one node on a stack's containerd: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler and kubelet of
// bin/k8s. Its files are in the stack's directory and its pods' cgroups below
// the stack's.
//
// It takes ports of a real node, and the kubelet sets sysctls, so it wants a
// host of its own (test/systemd).
type Kubernetes struct {
	stack   *Stack
	plane   []*process // in the order of their start
	kubelet *process
}

// StartKubernetes starts a cluster and waits until its node is ready.
func (s *Stack) StartKubernetes(ctx context.Context) (k *Kubernetes, err error) {
	s.opts.Progress("starting Kubernetes")
	k = &Kubernetes{stack: s}
	defer func() {
		if err != nil {
			k.Stop()
		}
	}()
	steps := []func(context.Context) error{
		k.prepare, k.startPlane, k.StartKubelet,
		func(ctx context.Context) error { return k.AwaitNode(ctx) },
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("start Kubernetes: %w", err)
		}
	}
	return k, nil
}

func (k *Kubernetes) path(elem ...string) string {
	return k.stack.path(append([]string{"k8s"}, elem...)...)
}

func (k *Kubernetes) program(name string) string {
	return filepath.Join(k.stack.opts.Repo, "bin", "k8s", name)
}

// prepare writes the files, gives the node its address and makes the cgroup
// that the kubelet wants to find.
func (k *Kubernetes) prepare(ctx context.Context) error {
	for _, dir := range []string{k.path("pki"), k.path("manifests"), k.path("plugins"), k.stack.PodLogs()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := writeCertificates(k.path("pki")); err != nil {
		return err
	}
	for _, user := range []string{"admin", "node"} {
		values := map[string]any{"Dir": k.path("pki"), "User": user}
		if err := writeTemplate(k.path(user+".conf"), kubeconfig, values); err != nil {
			return err
		}
	}
	err := writeTemplate(k.path("kubelet.yaml"), kubeletConfig, map[string]any{
		"Dir": k.path(), "CgroupRoot": k.stack.CgroupParent(), "Socket": k.stack.Socket(),
		"PodLogs": k.stack.PodLogs(), "Address": nodeAddress,
	})
	if err != nil {
		return err
	}
	if _, err := cgroups.Create(strings.TrimPrefix(k.stack.CgroupParent(), "/")); err != nil {
		return err
	}
	_, err = run(ctx, "ip", "address", "replace", nodeAddress+"/32", "dev", "lo")
	return err
}

// kubeconfig is how a user reaches the API.
const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://` + nodeAddress + `:6443", certificate-authority: {{.Dir}}/ca.crt}}]
users: [{name: u, user: {client-certificate: {{.Dir}}/{{.User}}.crt, client-key: {{.Dir}}/{{.User}}.key}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`

// startPlane starts the control plane.
func (k *Kubernetes) startPlane(ctx context.Context) error {
	const etcd = "http://127.0.0.1:2379"
	pki := func(name string) string { return k.path("pki", name) }
	admin := "--kubeconfig=" + k.path("admin.conf")
	for _, p := range []struct {
		name string
		args []string
		path string // of the API that answers when it is ready
	}{
		{"etcd", []string{
			"--data-dir=" + k.path("etcd"), "--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
			"--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level=warn",
		}, ""},
		{"kube-apiserver", []string{
			"--etcd-servers=" + etcd, "--bind-address=" + nodeAddress, "--advertise-address=" + nodeAddress,
			"--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true", "--authorization-mode=Node,RBAC",
			"--kubelet-preferred-address-types=InternalIP", "--client-ca-file=" + pki("ca.crt"),
			"--tls-cert-file=" + pki("api.crt"), "--tls-private-key-file=" + pki("api.key"), "--cert-dir=" + k.path("pki"),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + pki("accounts.key"), "--service-account-signing-key-file=" + pki("accounts.key"),
		}, "/readyz"},
		{"kube-controller-manager", []string{
			admin, "--service-account-private-key-file=" + pki("accounts.key"), "--root-ca-file=" + pki("ca.crt"),
			"--use-service-account-credentials", "--leader-elect=false", "--bind-address=127.0.0.1",
		}, "/api/v1/namespaces/default/serviceaccounts/default"},
		{"kube-scheduler", []string{admin, "--leader-elect=false", "--bind-address=127.0.0.1"}, ""},
	} {
		daemon, err := k.stack.start(k.program(p.name), p.args...)
		if err != nil {
			return err
		}
		k.plane = append(k.plane, daemon)
		if p.path == "" {
			continue
		}
		err = daemon.await(ctx, p.name, func() error {
			_, err := k.Kubectl(ctx, "", "get", "--raw", p.path)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// StartKubelet starts the kubelet: a test that stopped it starts it again.
func (k *Kubernetes) StartKubelet(context.Context) (err error) {
	k.kubelet, err = k.stack.start(k.program("kubelet"), "--config="+k.path("kubelet.yaml"), "--root-dir="+k.path("kubelet"),
		"--cert-dir="+k.path("pki", "kubelet"), "--kubeconfig="+k.path("node.conf"),
		"--node-ip="+nodeAddress, "--hostname-override="+NodeName)
	return err
}

// StopKubelet ends the kubelet; what it has started runs on.
func (k *Kubernetes) StopKubelet() { k.kubelet.stop() }

// AwaitNode waits until the node is ready.
func (k *Kubernetes) AwaitNode(ctx context.Context) error {
	return k.kubelet.await(ctx, "the node", func() error {
		_, err := k.Kubectl(ctx, "", "wait", "--for=condition=Ready", "--timeout=1s", "node/"+NodeName)
		return err
	})
}

// Kubectl runs kubectl as the cluster's administrator, with that input, and
// returns its output.
func (k *Kubernetes) Kubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, k.program("kubectl"), append([]string{"--kubeconfig", k.path("admin.conf")}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	cmd.Dir = k.stack.Dir
	cmd.Env = append(os.Environ(), "HOME="+k.path())
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stdout.String()+stderr.String()))
	}
	return stdout.String(), nil
}

// Stop ends the cluster, in the order of its parts' dependence: an apiserver
// waits long for an etcd that has gone. Pods are left to [Stack.Stop].
func (k *Kubernetes) Stop() {
	k.stack.opts.Progress("stopping Kubernetes")
	if k.kubelet != nil {
		k.kubelet.stop()
	}
	for i := len(k.plane) - 1; i >= 0; i-- {
		k.plane[i].stop()
	}
	k.plane, k.kubelet = nil, nil
}
