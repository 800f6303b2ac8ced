package nri

import (
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/lifecycle"
	"github.com/truesize/truesize/pkg/size"
)

// message returns what containerd sends for an ordinary container.
func message() (*api.PodSandbox, *api.Container) {
	pod := &api.PodSandbox{
		Id: "sandbox", Name: "web-0", Uid: "uid", Namespace: "shop",
		Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"truesize.dev/cpus": "2"},
		Linux: &api.LinuxPodSandbox{Namespaces: namespaces("pid", "", "ipc", "", "mount", "")},
	}
	c := &api.Container{
		Id: "id", PodSandboxId: "sandbox", Name: "main", Env: []string{"A=b"}, Pid: 42,
		Mounts: []*api.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "ro"}},
		},
		Linux: &api.LinuxContainer{
			Namespaces:  namespaces("pid", "", "mount", ""),
			CgroupsPath: "/kubepods/pod1/id",
			Resources: &api.LinuxResources{
				Cpu: &api.LinuxCPU{
					Quota: api.Int64(int64(150000)), Period: api.UInt64(uint64(100000)),
					Shares: api.UInt64(uint64(512)), Cpus: "0-1,4",
				},
				Memory:  &api.LinuxMemory{Limit: api.Int64(int64(1 << 30)), Swap: api.Int64(int64(3 << 29))},
				Devices: []*api.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
			},
		},
	}
	return pod, c
}

// namespaces makes a list of pairs of type and path.
func namespaces(pairs ...string) (list []*api.LinuxNamespace) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, &api.LinuxNamespace{Type: pairs[i], Path: pairs[i+1]})
	}
	return list
}

func TestSpec(t *testing.T) {
	got := spec(message())
	want := lifecycle.Spec{
		Container: inject.Container{
			ID: "id", SandboxID: "sandbox", Name: "main", Pod: "web-0", PodUID: "uid", Namespace: "shop",
			Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"truesize.dev/cpus": "2"},
			Env: []string{"A=b"},
			Mounts: []inject.Mount{
				{Source: "proc", Destination: "/proc", Type: "proc"},
				{Source: "sysfs", Destination: "/sys", Type: "sysfs", Options: []string{"nosuid", "ro"}},
			},
		},
		CgroupsPath: "/kubepods/pod1/id", CPUShares: 512, PID: 42, CPUs: "0-1,4",
		Limits: size.Limits{CPUMilli: 1500, CPUSet: 3, Memory: 1 << 30, Swap: 1 << 29, HasSwap: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestSpecOfEmptyMessages(t *testing.T) {
	for _, c := range []*api.Container{nil, {}, {Linux: &api.LinuxContainer{}}, {Linux: &api.LinuxContainer{Resources: &api.LinuxResources{}}}} {
		got := spec(nil, c)
		if got.ID != "" || got.Privileged || got.HostPID || got.Limits != (size.Limits{}) {
			t.Errorf("%v became %+v", c, got)
		}
	}
}

func TestPrivileged(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*api.Container)
		want bool
	}{
		{"ordinary", func(*api.Container) {}, false},
		{"writable sysfs", func(c *api.Container) { c.Mounts[1].Options = []string{"nosuid", "rw"} }, true},
		{"sysfs without options", func(c *api.Container) { c.Mounts[1].Options = nil }, true},
		{"unclean path", func(c *api.Container) { c.Mounts[1] = &api.Mount{Destination: "/sys/", Type: "sysfs"} }, true},
		{"the host's /sys by a volume", func(c *api.Container) { c.Mounts[1] = &api.Mount{Destination: "/sys", Type: "bind"} }, false},
		{"every device", devices(&api.LinuxDeviceCgroup{Allow: true, Access: "rwm"}), true},
		{"every device, by type", devices(&api.LinuxDeviceCgroup{Allow: true, Type: "a", Access: "rwm"}), true},
		{"every block device", devices(&api.LinuxDeviceCgroup{Allow: true, Type: "b", Access: "rwm"}), false},
		{"one device", devices(&api.LinuxDeviceCgroup{Allow: true, Major: api.Int64(int64(1)), Minor: api.Int64(int64(3))}), false},
	} {
		_, c := message()
		tt.edit(c)
		if got := privileged(c); got != tt.want {
			t.Errorf("%s: privileged %v, want %v", tt.name, got, tt.want)
		}
	}
}

func devices(list ...*api.LinuxDeviceCgroup) func(*api.Container) {
	return func(c *api.Container) { c.Linux.Resources.Devices = list }
}

func TestHostPID(t *testing.T) {
	for _, tt := range []struct {
		name           string
		pod, container []*api.LinuxNamespace
		want           bool
	}{
		{"own", namespaces("pid", ""), namespaces("pid", "", "mount", ""), false},
		{"shared in the pod", namespaces("pid", ""), namespaces("pid", "/proc/7/ns/pid"), false},
		{"the host's", namespaces("mount", ""), namespaces("mount", ""), true},
		// So containerd does it: the sandbox has none, its containers join it.
		{"the host's, joined", namespaces("mount", ""), namespaces("pid", "/proc/7/ns/pid"), true},
		{"own in a pod with the host's", namespaces("mount", ""), namespaces("pid", ""), false},
		{"unknown", nil, nil, false},
		{"unknown pod", nil, namespaces("pid", "/proc/7/ns/pid"), false},
	} {
		pod, c := message()
		pod.Linux.Namespaces, c.Linux.Namespaces = tt.pod, tt.container
		if got := hostPID(pod, c); got != tt.want {
			t.Errorf("%s: host's pid namespace %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestLimits(t *testing.T) {
	quota := func(q int64, p uint64) *api.LinuxResources {
		return &api.LinuxResources{Cpu: &api.LinuxCPU{Quota: api.Int64(q), Period: api.UInt64(p)}}
	}
	memory := func(limit, swap int64) *api.LinuxResources {
		return &api.LinuxResources{Memory: &api.LinuxMemory{Limit: api.Int64(limit), Swap: api.Int64(swap)}}
	}
	cpus := func(list string) *api.LinuxResources {
		return &api.LinuxResources{Cpu: &api.LinuxCPU{Cpus: list}}
	}
	for _, tt := range []struct {
		name string
		r    *api.LinuxResources
		want size.Limits
	}{
		{"none", nil, size.Limits{}},
		{"no quota", quota(0, 100000), size.Limits{}},
		{"unlimited quota", quota(-1, 100000), size.Limits{}},
		{"quota", quota(50000, 100000), size.Limits{CPUMilli: 500}},
		{"quota without a period", quota(250000, 0), size.Limits{CPUMilli: 2500}},
		{"quota rounds up", quota(100001, 100000), size.Limits{CPUMilli: 1001}},
		{"tiny quota is a limit", quota(1, 1000000), size.Limits{CPUMilli: 1}},
		{"absurd quota", quota(1<<62, 1), size.Limits{CPUMilli: 1000 << 40}},
		{"absurd period", quota(1, 1<<63), size.Limits{CPUMilli: 1}},
		{"memory", memory(1<<30, 0), size.Limits{Memory: 1 << 30}},
		{"unlimited memory", memory(-1, -1), size.Limits{}},
		{"no swap", memory(1<<30, 1<<30), size.Limits{Memory: 1 << 30, HasSwap: true}},
		{"unlimited swap", memory(1<<30, -1), size.Limits{Memory: 1 << 30}},
		{"swap below memory is none of the spec's", memory(1<<30, 1), size.Limits{Memory: 1 << 30}},
		{"swap without memory", memory(0, 1<<30), size.Limits{}},
		{"cpuset", cpus("0,2-3"), size.Limits{CPUSet: 3}},
		{"garbage cpuset", cpus("all"), size.Limits{}},
		{"endless cpuset", cpus("0-4294967295"), size.Limits{}},
	} {
		if got := limits(tt.r); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestAdjustment(t *testing.T) {
	if adj := adjustment(inject.Adjustment{}); adj != nil {
		t.Errorf("nothing became %v", adj)
	}
	adj := adjustment(inject.Adjustment{
		Mounts: []inject.Mount{{Source: "/s", Destination: "/d", Type: "bind", Options: []string{"ro"}}},
		Env:    []inject.EnvVar{{Name: "NUM_CPUS", Value: "2"}, {Name: "LD_PRELOAD", Value: "/x", Replaces: true}},
	})
	if m := adj.GetMounts(); len(m) != 1 || m[0].GetSource() != "/s" || m[0].GetDestination() != "/d" ||
		m[0].GetType() != "bind" || strings.Join(m[0].GetOptions(), ",") != "ro" {
		t.Errorf("mounts %v", m)
	}
	if adj.GetLinux().GetResources() != nil {
		t.Errorf("resources %v: want none without a CPU set", adj.GetLinux().GetResources())
	}
	if cpus := adjustment(inject.Adjustment{CPUSet: "0-1"}).GetLinux().GetResources().GetCpu().GetCpus(); cpus != "0-1" {
		t.Errorf("CPU set %q, want 0-1", cpus)
	}
	var env []string
	for _, e := range adj.GetEnv() {
		env = append(env, e.GetKey()+"="+e.GetValue())
	}
	// What another plugin may have set is removed before it is set.
	if got, want := strings.Join(env, " "), "NUM_CPUS=2 -LD_PRELOAD= LD_PRELOAD=/x"; got != want {
		t.Errorf("env %s, want %s", got, want)
	}
}
