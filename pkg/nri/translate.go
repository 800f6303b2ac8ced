package nri

import (
	"path"
	"slices"

	"github.com/containerd/nri/pkg/api"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/lifecycle"
	"github.com/truesize/truesize/pkg/size"
)

// spec translates what NRI tells of a container. Either may be nil or lack
// parts: NRI's messages have no required field.
func spec(pod *api.PodSandbox, c *api.Container) lifecycle.Spec {
	resources := c.GetLinux().GetResources()
	return lifecycle.Spec{
		Container: inject.Container{
			ID:          c.GetId(),
			SandboxID:   c.GetPodSandboxId(),
			Name:        c.GetName(),
			Pod:         pod.GetName(),
			PodUID:      pod.GetUid(),
			Namespace:   pod.GetNamespace(),
			Labels:      pod.GetLabels(),
			Annotations: pod.GetAnnotations(),
			Env:         c.GetEnv(),
			Mounts:      mounts(c.GetMounts()),
			Privileged:  privileged(c),
			HostPID:     hostPID(pod, c),
		},
		CgroupsPath: c.GetLinux().GetCgroupsPath(),
		Limits:      limits(resources),
		CPUShares:   resources.GetCpu().GetShares().GetValue(),
		PID:         int(c.GetPid()),
		Image:       c.GetAnnotations()[imageAnnotation],
		PodIP:       firstIP(pod),
		CPUs:        resources.GetCpu().GetCpus(),
	}
}

// imageAnnotation is where containerd's CRI notes the image's name as the pod
// has it: NRI has no field for it.
const imageAnnotation = "io.kubernetes.cri.image-name"

// firstIP returns a pod's primary address.
func firstIP(pod *api.PodSandbox) string {
	if ips := pod.GetIps(); len(ips) > 0 {
		return ips[0]
	}
	return ""
}

// privileged reports whether the container was asked to be privileged, which
// NRI does not say outright: a runtime then mounts sysfs writable, and allows
// every device. (CRI's privileged, not merely many capabilities.)
func privileged(c *api.Container) bool {
	for _, m := range c.GetMounts() {
		if m.GetType() == "sysfs" && path.Clean(m.GetDestination()) == "/sys" &&
			!slices.Contains(m.GetOptions(), "ro") {
			return true
		}
	}
	for _, d := range c.GetLinux().GetResources().GetDevices() {
		if d.GetAllow() && (d.GetType() == "" || d.GetType() == "a") && d.Major == nil && d.Minor == nil {
			return true
		}
	}
	return false
}

// hostPID reports whether the container runs in the host's pid namespace: it
// has none of its own, or joins that of a pod that has none. A specification
// that lists no namespace at all says nothing of them.
func hostPID(pod *api.PodSandbox, c *api.Container) bool {
	own, known := pidNamespace(c.GetLinux().GetNamespaces())
	if own == nil {
		return known
	}
	pods, known := pidNamespace(pod.GetLinux().GetNamespaces())
	return own.GetPath() != "" && pods == nil && known
}

// pidNamespace returns the pid namespace in a list, nil when there is none,
// and whether there is any namespace in it.
func pidNamespace(list []*api.LinuxNamespace) (pid *api.LinuxNamespace, known bool) {
	i := slices.IndexFunc(list, func(n *api.LinuxNamespace) bool { return n.GetType() == "pid" })
	if i < 0 {
		return nil, len(list) > 0
	}
	return list[i], true
}

func mounts(list []*api.Mount) []inject.Mount {
	out := make([]inject.Mount, 0, len(list))
	for _, m := range list {
		out = append(out, inject.Mount{
			Source: m.GetSource(), Destination: m.GetDestination(),
			Type: m.GetType(), Options: m.GetOptions(),
		})
	}
	return out
}

// limits translates the limits of a specification, in which absent, zero and
// negative mean none (OCI runtime specification, config-linux.md).
func limits(r *api.LinuxResources) size.Limits {
	var l size.Limits
	quota, period := r.GetCpu().GetQuota().GetValue(), r.GetCpu().GetPeriod().GetValue()
	if period == 0 {
		period = 100_000 // the kernel's default, in microseconds
	}
	if quota > 0 {
		l.CPUMilli = milli(uint64(quota), period)
	}
	l.CPUSet = countCPUs(r.GetCpu().GetCpus())
	memory, swap := r.GetMemory().GetLimit().GetValue(), r.GetMemory().GetSwap().GetValue()
	if memory > 0 {
		l.Memory = uint64(memory)
		// The specification's swap is memory and swap together.
		if swap >= memory {
			l.Swap, l.HasSwap = uint64(swap-memory), true
		}
	}
	return l
}

// milli returns quota over period in thousandths of a CPU, rounded up and at
// least 1: no limit is the only meaning of 0.
func milli(quota, period uint64) int64 {
	const most = 1 << 40 // no host is larger; keeps the product in range
	return int64((min(quota, most)*1000 + period - 1) / period)
}

// countCPUs returns how many CPUs a list such as "0-3,8" names; 0 when it is
// empty or malformed, for then the cgroup itself tells.
func countCPUs(list string) int {
	cpus, err := cgroup.ParseCPUList([]byte(list))
	if err != nil {
		return 0
	}
	return len(cpus)
}

// adjustment translates a plan to NRI's terms. NRI lets one plugin change a
// thing: a variable that exists may be another plugin's, so it is removed
// first, which takes it over instead of failing the container.
func adjustment(a inject.Adjustment) *api.ContainerAdjustment {
	if len(a.Mounts) == 0 && len(a.Env) == 0 && a.CPUSet == "" {
		return nil
	}
	adj := new(api.ContainerAdjustment)
	for _, m := range a.Mounts {
		adj.AddMount(&api.Mount{Source: m.Source, Destination: m.Destination, Type: m.Type, Options: m.Options})
	}
	for _, e := range a.Env {
		if e.Replaces {
			adj.RemoveEnv(e.Name)
		}
		adj.AddEnv(e.Name, e.Value)
	}
	if a.CPUSet != "" {
		adj.SetLinuxCPUSetCPUs(a.CPUSet)
	}
	return adj
}
