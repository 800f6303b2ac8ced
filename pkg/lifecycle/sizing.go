package lifecycle

import (
	"cmp"
	"errors"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

// maxValue bounds, in bytes, what is kept of an annotation or a variable. No
// usable value is longer, and an entry stays small whatever a pod says.
const maxValue = 128

// newEntry returns the entry of a container that has no cgroup yet: its
// limits are those of its spec and of the cgroups above it.
func (m *Manager) newEntry(s Spec) *registry.Container {
	c := &registry.Container{
		ID: s.ID, Name: s.Name, Pod: s.Pod, Namespace: s.Namespace,
		PodUID: s.PodUID, SandboxID: s.SandboxID,
		Via: m.cfg.Via, BootID: m.cfg.BootID, CreatedAt: m.now().UTC(),
		Input: size.Input{
			Container:   s.Name,
			Annotations: annotations(s.Annotations, s.Name),
			CPUShares:   s.CPUShares,
		},
	}
	if v, set := inject.Getenv(s.Env, inject.NumCPUsVar); set {
		v = clip(v)
		c.Input.NumCPUs = &v
	}
	limits := s.Limits
	paths, above, err := m.cgroupOf(s)
	if err != nil {
		m.fail("cgroup", "cannot read the limits above a new container, its own decide", err, "container", s.ID)
	} else {
		limits = smaller(limits, above)
	}
	c.Cgroup = paths
	m.decide(c, limits)
	return c
}

// cgroupOf returns where the cgroup of a new container will be, and the limits
// of those above it.
func (m *Manager) cgroupOf(s Spec) (paths map[string]string, above size.Limits, err error) {
	if s.CgroupsPath == "" {
		return nil, size.Limits{}, nil
	}
	if paths, err = m.cfg.Kernel.PathsFromSpec(s.CgroupsPath); err != nil {
		return nil, size.Limits{}, err
	}
	// Its own does not exist yet. To look it up would be to wait, in the kernel,
	// for whoever makes another one beside it.
	above, err = m.cfg.Kernel.Limits(parents(paths))
	return paths, above, err
}

// decide sets the entry's limits and everything that follows from them.
func (m *Manager) decide(c *registry.Container, limits size.Limits) {
	host, err := m.cfg.Kernel.Host()
	if err != nil {
		m.fail("host", "cannot read the node's size", err)
		host = c.Input.Host // as last known
	}
	c.Input.Host, c.Input.Limits, c.Input.FromRequests = host, limits, m.cfg.FromRequests
	c.Decision = size.Decide(c.Input)
}

// measure reads the limits of the container's own cgroup and decides again.
// A container that does not run yet, or whose cgroup cannot be read, keeps its
// limits.
func (m *Manager) measure(c *registry.Container) {
	limits := c.Input.Limits
	if c.PID != 0 && len(c.Cgroup) > 0 {
		l, err := m.cfg.Kernel.Limits(c.Cgroup)
		if err == nil {
			limits = m.beyondOwnSet(c, l)
		} else if !errors.Is(err, cgroup.ErrGone) {
			m.fail("cgroup", "cannot read a container's limits, it keeps them", err, "container", c.ID)
		}
	}
	m.decide(c, limits)
}

// beyondOwnSet returns limits with the CPU set above the container's own,
// where that is Truesize's: it follows the size, and must not hold it.
func (m *Manager) beyondOwnSet(c *registry.Container, limits size.Limits) size.Limits {
	if c.CPUSet == "" {
		return limits
	}
	cpus, err := m.cfg.Kernel.CPUs(parents(c.Cgroup))
	if err != nil {
		m.fail("cpuset", "cannot read the CPUs a container may have", err, "container", c.ID)
		limits.CPUSet = c.Input.Limits.CPUSet
		return limits
	}
	limits.CPUSet = len(cpus)
	return limits
}

// annotations returns those of a pod that concern one of its containers.
func annotations(pod map[string]string, container string) map[string]string {
	var kept map[string]string
	for _, key := range []string{
		inject.Annotation, inject.AnnotationCPUSet, size.AnnotationCPUs, size.AnnotationMemory,
		size.AnnotationCPUsContainer + container, size.AnnotationMemoryContainer + container,
	} {
		if v, ok := pod[key]; ok {
			if kept == nil {
				kept = make(map[string]string)
			}
			kept[key] = clip(v)
		}
	}
	return kept
}

// clip bounds a string of the user's.
func clip(s string) string { return s[:min(len(s), maxValue)] }

// smaller returns, value by value, the smaller of two sets of limits.
func smaller(a, b size.Limits) size.Limits {
	l := size.Limits{
		CPUMilli:       least(a.CPUMilli, b.CPUMilli),
		CPUSet:         least(a.CPUSet, b.CPUSet),
		Memory:         least(a.Memory, b.Memory),
		HasSwap:        a.HasSwap || b.HasSwap,
		SwapAccounting: a.SwapAccounting || b.SwapAccounting,
	}
	switch {
	case a.HasSwap && b.HasSwap:
		l.Swap = min(a.Swap, b.Swap)
	case a.HasSwap:
		l.Swap = a.Swap
	case b.HasSwap:
		l.Swap = b.Swap
	}
	return l
}

// least returns the smaller of two values of which 0 says nothing.
func least[T cmp.Ordered](a, b T) T {
	var none T
	switch {
	case a == none:
		return b
	case b == none:
		return a
	}
	return min(a, b)
}
