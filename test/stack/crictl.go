package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Spec is a pod of one container, in the CRI's terms.
type Spec struct {
	Name        string // of the pod and, as "main", unique within the stack if empty
	Container   string // name of the container, "main" if empty
	Namespace   string // "default" if empty
	Image       string
	Command     []string // sleeps if empty
	Env         map[string]string
	Labels      map[string]string // of the pod
	Annotations map[string]string // of the pod
	CPUMilli    int64             // CPU limit in thousandths; 0 is none
	CPUShares   int64             // 1024 per requested CPU; 0 is the default
	Memory      int64             // memory limit in bytes; 0 is none
	Privileged  bool
	HostPID     bool
	Seccomp     bool // with the runtime's default profile
	Mounts      []Mount
}

// A Mount is a bind of a host's path into a container.
type Mount struct {
	Source, Target string
	ReadOnly       bool
	// Shared has mounts that are made on either side appear on the other.
	Shared bool
}

// Crictl runs crictl on the stack's containerd and returns its output.
func (s *Stack) Crictl(ctx context.Context, args ...string) (string, error) {
	return run(ctx, s.Program("crictl"), s.CrictlArgs(args...)...)
}

// CrictlArgs returns the arguments with which crictl works on the stack. The
// variables by which it finds the node's own runtime win over a configuration,
// and not over flags.
func (s *Stack) CrictlArgs(args ...string) []string {
	endpoint := "unix://" + s.Socket()
	return append([]string{"--config", s.CrictlConfig(), "--runtime-endpoint", endpoint, "--image-endpoint", endpoint}, args...)
}

// Exec runs a command in the container and returns its standard output less
// the newlines at its end, to which crictl adds some.
func (c *Container) Exec(ctx context.Context, command ...string) (string, error) {
	out, err := c.stack.Crictl(ctx, append([]string{"exec", "--sync", c.ID}, command...)...)
	return strings.TrimRight(out, "\n"), err
}

// Shell runs a command line with the container's sh, as [Container.Exec].
func (c *Container) Shell(ctx context.Context, line string) (string, error) {
	return c.Exec(ctx, "sh", "-c", line)
}

// Resize changes the limits of the running container: CPU in thousandths,
// memory in bytes.
func (c *Container) Resize(ctx context.Context, cpuMilli, memory int64) error {
	_, err := c.stack.Crictl(ctx, "update",
		"--cpu-period", strconv.Itoa(cpuPeriod), "--cpu-quota", strconv.FormatInt(quota(cpuMilli), 10),
		"--memory", strconv.FormatInt(memory, 10), c.ID)
	if err != nil {
		return fmt.Errorf("resize container: %w", err)
	}
	return nil
}

// PID returns the container's init in the node's pid namespace.
func (c *Container) PID(ctx context.Context) (int, error) {
	out, err := c.stack.Crictl(ctx, "inspect", "--output", "go-template", "--template", "{{.info.pid}}", c.ID)
	if err != nil {
		return 0, fmt.Errorf("pid of container: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// RootFS returns the node's path of the running container's root file system,
// without what is mounted on it in the container.
func (c *Container) RootFS() string {
	return c.stack.path("state", "io.containerd.runtime.v2.task", "k8s.io", c.ID, "rootfs")
}

// removePods removes every pod of the stack, if containerd answers.
func (s *Stack) removePods(ctx context.Context) error {
	if _, err := os.Stat(s.Socket()); err != nil {
		return nil
	}
	_, err := s.Crictl(ctx, "rmp", "--force", "--all")
	return err
}

// The CRI's numbers: NamespaceMode and the CFS period in microseconds.
const (
	namespaceContainer = 1
	namespaceNode      = 2

	// Of the CRI's SecurityProfile.ProfileType.
	seccompRuntimeDefault = 0

	// Of the CRI's MountPropagation.
	propagationPrivate       = 0
	propagationBidirectional = 2

	cpuPeriod = 100000
)

// propagation returns the CRI's MountPropagation.
func propagation(m Mount) int {
	if m.Shared {
		return propagationBidirectional
	}
	return propagationPrivate
}

func quota(cpuMilli int64) int64 { return cpuMilli * cpuPeriod / 1000 }

type object = map[string]any

// podConfig returns the CRI's PodSandboxConfig.
func (s *Stack) podConfig(spec Spec, dir string) object {
	return object{
		"metadata": object{
			"name": spec.Name, "namespace": or(spec.Namespace, "default"), "uid": s.podUID(dir),
		},
		"hostname":      spec.Name,
		"log_directory": s.podLogs(spec, dir),
		"labels":        spec.Labels,
		"annotations":   spec.Annotations,
		"linux": object{
			"cgroup_parent":    s.podCgroup(dir),
			"security_context": securityContext(spec),
		},
	}
}

// podCgroup returns the cgroup, in every hierarchy, of the pod whose files are
// in dir.
func (s *Stack) podCgroup(dir string) string {
	return filepath.Join(cgroupOf(s.ID), filepath.Base(dir))
}

// podUID returns the uid of the pod whose files are in dir.
func (s *Stack) podUID(dir string) string { return s.ID + "-" + filepath.Base(dir) }

// podLogs returns the pod's log directory, named as the kubelet does.
func (s *Stack) podLogs(spec Spec, dir string) string {
	return filepath.Join(s.PodLogs(), fmt.Sprintf("%s_%s_%s", or(spec.Namespace, "default"), spec.Name, s.podUID(dir)))
}

// containerConfig returns the CRI's ContainerConfig.
func containerConfig(spec Spec) object {
	command := spec.Command
	if len(command) == 0 {
		command = []string{"sleep", "86400"}
	}
	envs, mounts := []object{}, []object{}
	for key, value := range spec.Env {
		envs = append(envs, object{"key": key, "value": value})
	}
	for _, m := range spec.Mounts {
		mounts = append(mounts, object{"host_path": m.Source, "container_path": m.Target, "readonly": m.ReadOnly, "propagation": propagation(m)})
	}
	resources := object{"memory_limit_in_bytes": spec.Memory, "cpu_shares": spec.CPUShares}
	if spec.CPUMilli > 0 {
		resources["cpu_period"], resources["cpu_quota"] = cpuPeriod, quota(spec.CPUMilli)
	}
	return object{
		"metadata": object{"name": or(spec.Container, "main")},
		"image":    object{"image": spec.Image},
		"command":  command,
		"envs":     envs,
		"mounts":   mounts,
		"log_path": filepath.Join(or(spec.Container, "main"), "0.log"),
		"linux":    object{"resources": resources, "security_context": securityContext(spec)},
	}
}

// securityContext returns what the CRI's sandbox and container contexts
// share.
func securityContext(spec Spec) object {
	pid := namespaceContainer
	if spec.HostPID {
		pid = namespaceNode
	}
	context := object{"privileged": spec.Privileged, "namespace_options": object{"pid": pid}}
	if spec.Seccomp {
		context["seccomp"] = object{"profile_type": seccompRuntimeDefault}
	}
	return context
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
