// Package size is the domain: how large a container is, and why.
//
// It turns what is known of a container (annotations, environment, limits)
// and of its host into a [Decision] by the order of rules in docs/sizing.md.
// It is pure: no I/O, no clock, standard library only.
package size

// A Size is what a container of that size shows of itself: the size of the
// virtual machine it looks like.
type Size struct {
	// CPUs is the number of virtual CPUs, from 1 to the host's online CPUs,
	// or more where an annotation says so.
	CPUs int `json:"cpus"`
	// Memory is in bytes, always above 0.
	Memory uint64 `json:"memory"`
	// Swap is in bytes; 0 is no swap.
	Swap uint64 `json:"swap"`
}

// A Host is the node as its kernel reports it.
type Host struct {
	CPUs   int    `json:"cpus"`   // online CPUs
	Memory uint64 `json:"memory"` // MemTotal in bytes
	Swap   uint64 `json:"swap"`   // SwapTotal in bytes
}

// Limits are the effective limits of a cgroup: at every one the smallest
// among the cgroup and its ancestors.
type Limits struct {
	// CPUMilli is quota over period in thousandths of a CPU; 0 is no limit.
	CPUMilli int64 `json:"cpuMilli,omitempty"`
	// CPUSet is the number of CPUs the cgroup may run on; 0 is unknown.
	CPUSet int `json:"cpuset,omitempty"`
	// Memory is in bytes; 0 is no limit.
	Memory uint64 `json:"memory,omitempty"`
	// Swap is the swap that may be used, in bytes, meaningful when HasSwap.
	// It excludes memory (v1's memsw limit less its memory limit).
	Swap uint64 `json:"swap,omitempty"`
	// HasSwap says that the kernel limits swap for this cgroup: false is no
	// swap limit, or no swap accounting (see SwapAccounting).
	HasSwap bool `json:"hasSwap,omitempty"`
	// SwapAccounting says whether the kernel accounts swap per cgroup at all.
	// Without it a container shows no swap.
	SwapAccounting bool `json:"swapAccounting,omitempty"`
}

// An Input is all that a decision depends on. It is stored with the container
// in the registry, so a decision can be repeated and explained.
type Input struct {
	// Container is the container's name within its pod.
	Container string `json:"container"`
	// Annotations are those of the pod; only keys of Truesize are kept.
	Annotations map[string]string `json:"annotations,omitempty"`
	// NumCPUs is NUM_CPUS as set in the container's own environment, nil
	// when it is not set there.
	NumCPUs *string `json:"numCPUs,omitempty"`
	// CPUShares is the CRI's cpu_shares, 1024 per requested CPU; 0 is none.
	CPUShares uint64 `json:"cpuShares,omitempty"`
	// FromRequests is the admin's opt-in to size CPUs by request where there
	// is no limit.
	FromRequests bool   `json:"fromRequests,omitempty"`
	Limits       Limits `json:"limits"`
	Host         Host   `json:"host"`
}

// A Source names the rule that gave a value.
type Source string

const (
	FromAnnotation Source = "annotation"
	FromEnv        Source = "env"     // NUM_CPUS in the container's spec
	FromLimit      Source = "limit"   // CPU quota or memory limit
	FromRequest    Source = "request" // CPU shares, with fromRequests
	FromCPUSet     Source = "cpuset"
	FromHost       Source = "host"
)

// A Step is one rule that was looked at, in order, for `truesize explain`.
type Step struct {
	Resource string `json:"resource"` // "cpu", "memory" or "swap"
	Rule     Source `json:"rule"`
	// Value is what the rule says ("2", "4 GiB"), empty when it says nothing.
	Value string `json:"value,omitempty"`
	// Used marks the rule that decided.
	Used bool `json:"used"`
	// Note says why the rule was used or passed over, in one sentence.
	Note string `json:"note"`
}

// A Decision is a size with its reasons.
type Decision struct {
	Size         Size   `json:"size"`
	CPUSource    Source `json:"cpuSource"`
	MemorySource Source `json:"memorySource"`
	Steps        []Step `json:"steps"`
	// Warnings are the inputs that could not be used, each a sentence that
	// names the input and says what to write instead. A bad input never fails
	// a container: the next rule decides.
	Warnings []string `json:"warnings,omitempty"`
}
