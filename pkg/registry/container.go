package registry

import (
	"time"

	"github.com/truesize/truesize/pkg/size"
)

// SchemaVersion is the version of the entries this code writes. A reader
// accepts entries of its own version and older ones.
const SchemaVersion = 1

// A Container is what is known of one container: its entry in the registry.
type Container struct {
	Version   int    `json:"version"`
	ID        string `json:"id"`
	Name      string `json:"name"`
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
	PodUID    string `json:"podUID,omitempty"`
	SandboxID string `json:"sandboxID,omitempty"`

	// Via names who registered the container ("nri"): only that one
	// takes its entry away.
	Via string `json:"via,omitempty"`

	// PID is the container's init in the host's pid namespace, 0 until the
	// runtime has created it.
	PID int `json:"pid,omitempty"`
	// StartTicks is field 22 (starttime) of /proc/PID/stat of that init, in
	// clock ticks since boot: it tells a process from a later one of the same
	// pid, and uptime counts from it. 0 until PID is known.
	StartTicks uint64 `json:"startTicks,omitempty"`
	// BootID is /proc/sys/kernel/random/boot_id when the entry was written.
	BootID string `json:"bootID"`
	// CreatedAt is when the container was first registered.
	CreatedAt time.Time `json:"createdAt"`

	// Cgroup maps a v1 controller to the container's path in its hierarchy;
	// the key "" is the unified (v2) hierarchy. Paths are absolute within the
	// hierarchy: the lines of /proc/PID/cgroup.
	Cgroup map[string]string `json:"cgroup,omitempty"`

	Input    size.Input    `json:"input"`
	Decision size.Decision `json:"decision"`

	// Skipped says why the container was left alone; empty when it was not.
	Skipped string `json:"skipped,omitempty"`
	// Detached says that an admin took the view off: the agent does not mount it
	// again by itself. A container may have kept its shim then.
	Detached bool `json:"detached,omitempty"`
	// Mounts are the paths in the container over which a view is mounted.
	Mounts []string `json:"mounts,omitempty"`
	// Shim is the path of the preloaded shim in the container, empty without.
	Shim string `json:"shim,omitempty"`
	// CPUSet is the CPUs that Truesize has given the container, in the kernel's
	// list format; empty for one whose CPUs it does not choose.
	CPUSet string `json:"cpuset,omitempty"`
	// Env are the names of the variables that were added or changed.
	Env []string `json:"env,omitempty"`
	// Notes are sentences on what was left out of the injection, and why.
	Notes []string `json:"notes,omitempty"`
}
