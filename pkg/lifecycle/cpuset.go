package lifecycle

import (
	"errors"
	"path"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/cpuset"
	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
)

// A CPUSet is the CPUs on which a container is to run, in the kernel's list
// format.
type CPUSet struct{ ID, CPUs string }

// Unbalanced is sent to when [Manager.Rebalance] may have something to say:
// a container with a CPU set has come, changed or gone.
func (m *Manager) Unbalanced() <-chan struct{} { return m.unbalanced }

func (m *Manager) unbalance() {
	select {
	case m.unbalanced <- struct{}{}:
	default: // the one that is there will do
	}
}

// Rebalance returns the CPU sets that running containers should have and have
// not. Where the kubelet manages CPUs there are none.
func (m *Manager) Rebalance() []CPUSet {
	m.placing.Lock()
	defer m.placing.Unlock()
	if m.kubeletManagesCPUs() {
		return nil
	}
	entries, list := m.placed()
	sets := cpuset.Assign(list)
	var changes []CPUSet
	for _, c := range entries {
		if set := sets[c.ID].String(); set != "" && set != c.CPUSet {
			changes = append(changes, CPUSet{c.ID, set})
		}
	}
	return changes
}

// Applied notes that the runtime has given a container a set.
func (m *Manager) Applied(s CPUSet) {
	defer m.hold(s.ID)()
	c, err := m.cfg.Registry.Get(s.ID)
	if err != nil || c.CPUSet == "" {
		return // gone meanwhile
	}
	c.CPUSet = s.CPUs
	_ = m.put(c) // counted and logged; the runtime tells the set again
}

// placed returns the entries of the containers that have a CPU set, and what
// is to be known of each to assign it.
func (m *Manager) placed() ([]*registry.Container, []cpuset.Container) {
	all, err := m.cfg.Registry.List()
	if err != nil {
		m.fail("registry", "entries are not usable", err)
	}
	var (
		entries []*registry.Container
		list    []cpuset.Container
	)
	for _, c := range all {
		if c.CPUSet == "" || c.Via != m.cfg.Via {
			continue
		}
		current, err := cgroup.ParseCPUList([]byte(c.CPUSet))
		if err != nil {
			m.fail("cpuset", "a container's CPU set is not usable", err, "container", c.ID)
			continue
		}
		// One that is being created counts, and does not move: the runtime does
		// not know it yet, and would say nothing.
		allowed := current
		if c.PID != 0 {
			if cpus, err := m.cfg.Kernel.CPUs(parents(c.Cgroup)); err == nil {
				allowed = cpus
			} else if !errors.Is(err, cgroup.ErrGone) {
				m.fail("cpuset", "cannot read the CPUs a container may have, it keeps its own", err, "container", c.ID)
			}
		}
		entries = append(entries, c)
		list = append(list, place(c, allowed, current))
	}
	return entries, list
}

// place returns what is to be known of a container to assign its set.
func place(c *registry.Container, allowed, current cpuset.Set) cpuset.Container {
	n := c.Decision.Size.CPUs
	load := int64(n) * 1000
	if limit := c.Input.Limits.CPUMilli; limit > 0 {
		load = min(load, limit)
	}
	return cpuset.Container{ID: c.ID, CPUs: n, Load: load, Allowed: allowed, Current: current}
}

// choose decides on the CPU set of a container about to be created. set is
// what its entry notes, empty when its CPUs are not Truesize's to choose; why
// says what stands against it. tell is what the runtime is to be told, empty
// when there is nothing to do, because the container may use every CPU.
func (m *Manager) choose(s Spec, c *registry.Container) (set, tell string, why inject.Reason) {
	switch {
	case s.CPUs != "":
		return "", "", inject.OwnCPUSet
	case m.kubeletManagesCPUs():
		return "", "", inject.CPUManager
	}
	paths, err := m.cfg.Kernel.PathsFromSpec(s.CgroupsPath)
	var allowed cpuset.Set
	if err == nil {
		allowed, err = m.cfg.Kernel.CPUs(parents(paths))
	}
	if err != nil || len(allowed) == 0 {
		m.fail("cpuset", "cannot read the CPUs a new container may have, it gets no CPU set", err, "container", s.ID)
		return "", "", inject.NoCPUSet
	}
	_, list := m.placed()
	set = cpuset.Assign(append(list, place(c, allowed, nil)))[c.ID].String()
	if c.Decision.Size.CPUs < len(allowed) {
		tell = set
	}
	return set, tell, ""
}

// relearn takes over the set that the runtime says a container has. The entry
// says whether it is Truesize's.
func relearn(c *registry.Container, told string) {
	cpus, err := cgroup.ParseCPUList([]byte(told))
	if c.CPUSet != "" && err == nil && len(cpus) > 0 {
		c.CPUSet = cpuset.Set(cpus).String()
	}
}

// kubeletManagesCPUs reports whether the kubelet gives containers CPUs of
// their own. When that cannot be found out it does: its sets are not touched.
func (m *Manager) kubeletManagesCPUs() bool {
	static, err := m.cfg.Kernel.StaticCPUManager()
	if err != nil {
		m.fail("cpu-manager", "cannot tell whether the kubelet manages CPUs, CPU sets are left alone", err)
		return true
	}
	return static
}

// parents returns the paths of the cgroups above those at paths.
func parents(paths map[string]string) map[string]string {
	above := make(map[string]string, len(paths))
	for controller, p := range paths {
		above[controller] = path.Dir(p)
	}
	return above
}
