package lifecycle

import (
	"context"
	"errors"
	"io/fs"
	"reflect"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
)

// Refresh brings the entry of a container that exists up to date: its
// process, its cgroup, its limits and so its size. A container that nobody
// registered is adopted.
func (m *Manager) Refresh(s Spec) error {
	if err := registry.ValidID(s.ID); err != nil {
		m.fail("validate", "refused a container", err)
		return err
	}
	defer m.hold(s.ID)()
	old, c := m.entry(s)
	if s.CPUShares != 0 {
		c.Input.CPUShares = s.CPUShares
	}
	if s.PID != 0 && (s.PID != c.PID || c.StartTicks == 0) {
		m.locate(c, s.PID)
	}
	m.await(c)
	relearn(c, s.CPUs)
	m.measure(c)
	return m.putChanged(old, c)
}

// entry returns a container's entry as it is, nil when there is none that can
// be used, and one to work on.
func (m *Manager) entry(s Spec) (old, c *registry.Container) {
	old, err := m.cfg.Registry.Get(s.ID)
	if err == nil {
		c = new(registry.Container)
		*c = *old
		return old, c
	}
	if !errors.Is(err, registry.ErrNotFound) {
		m.fail("registry", "a container's entry is not usable and is written anew", err, "container", s.ID)
	}
	return nil, m.adopt(s)
}

// adopt returns an entry for a container that runs and is not registered.
// What was injected is told by its mounts: those of the registry's earlier
// life are kept in it, any other container was created without Truesize.
func (m *Manager) adopt(s Spec) *registry.Container {
	views, shim := inject.Recognize(s.Container, m.cfg.Inject)
	if len(views) == 0 && shim == "" {
		c := m.newEntry(s)
		adj := inject.Plan(s.Container, c.Decision.Size, m.cfg.Inject, inject.State{})
		c.Skipped = string(inject.SkipEarlier)
		if adj.Skip != "" {
			c.Skipped = string(adj.Skip)
		}
		return c
	}
	// NUM_CPUS in its environment was most likely put there by the injection:
	// it is no input of the size.
	s.Env = nil
	c := m.newEntry(s)
	c.Mounts, c.Shim = views, shim
	c.Env = []string{inject.NumCPUsVar}
	return c
}

// locate notes the container's init and its cgroup.
func (m *Manager) locate(c *registry.Container, pid int) {
	ticks, paths, err := m.cfg.Kernel.Process(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return // it has ended already
	}
	if err != nil {
		m.fail("process", "cannot read a container's process", err, "container", c.ID, "pid", pid)
		return
	}
	c.PID, c.StartTicks, c.Cgroup = pid, ticks, paths
	c.BootID = m.cfg.BootID
}

// putChanged writes c unless it says what old says, and its size page: a
// write of that which failed is tried again so.
func (m *Manager) putChanged(old, c *registry.Container) error {
	if old != nil && reflect.DeepEqual(old, c) {
		return m.keepPage(c)
	}
	if old != nil && old.Decision.Size != c.Decision.Size {
		m.cfg.Log.Info("container resized", "container", c.ID, "pod", c.Pod, "namespace", c.Namespace,
			"from", old.Decision.Size, "to", c.Decision.Size)
	}
	if c.CPUSet != "" {
		defer m.unbalance() // not before there is something to see
	}
	if err := m.put(c); err != nil {
		return err
	}
	return m.keepPage(c)
}

// Synchronize makes the registry hold the containers that specs list, and no
// others of ours that there were before. It does what it can: the error joins
// what failed.
func (m *Manager) Synchronize(specs []Spec) error {
	// Before the rest, which may take longer than the runtime waits for: of
	// containers that are created meanwhile the list does not know.
	ids, err := m.cfg.Registry.IDs()
	if err != nil {
		m.fail("registry", "cannot list the registry", err)
	}
	var errs []error
	live := make(map[string]bool, len(specs))
	for _, s := range specs {
		live[s.ID] = true
		m.forgetUnanswered(s)
		errs = append(errs, m.Refresh(s))
	}
	for _, id := range ids {
		if !live[id] && m.ours(id) {
			errs = append(errs, m.Remove(id))
		}
	}
	return errors.Join(errs...)
}

// forgetUnanswered removes the entry of a container whose creation was told and
// whose adjustment the runtime never got, because the agent or the connection
// was gone by then: the runtime has created it without. Its mounts tell, unless
// the runtime tells none. One that is known to run may have got its view since.
func (m *Manager) forgetUnanswered(s Spec) {
	defer m.holds.take(s.ID)()
	c, err := m.cfg.Registry.Get(s.ID)
	if err != nil || c.PID != 0 || len(c.Mounts) == 0 && c.Shim == "" || len(s.Mounts) == 0 {
		return
	}
	if views, shim := inject.Recognize(s.Container, m.cfg.Inject); len(views) > 0 || shim != "" {
		return
	}
	m.cfg.Log.Warn("a container was created without its injection, which the runtime was not told in time",
		"container", c.ID, "pod", c.Pod, "namespace", c.Namespace)
	if err := m.cfg.Registry.Remove(s.ID); err != nil {
		m.fail("remove", "cannot forget a container", err, "container", s.ID)
	}
}

// ours reports whether a container's entry is this manager's to remove, or what
// is left of one: an agent that was killed may have had no time to write it, or
// to remove all of it.
func (m *Manager) ours(id string) bool {
	c, err := m.cfg.Registry.Get(id)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		m.fail("registry", "an entry is not usable", err, "container", id)
		return false
	}
	return err != nil || c.Via == m.cfg.Via
}

// Reconcile reads the limits of every registered container again: they also
// change in ways of which no runtime tells. It returns when done, or when ctx
// ends.
func (m *Manager) Reconcile(ctx context.Context) {
	ids, err := m.cfg.Registry.IDs()
	if err != nil {
		m.fail("registry", "cannot list the registry", err)
	}
	for _, id := range ids {
		if ctx.Err() != nil {
			return
		}
		m.reconcile(id)
	}
}

// reconcile reads one container's limits again.
func (m *Manager) reconcile(id string) {
	m.revise(id, func(c *registry.Container) bool {
		if !m.alive(c) {
			return false
		}
		m.measure(c)
		return true
	})
}

// revise changes the entry of a container that is registered. change works on a
// copy, and returns whether it is to be written.
func (m *Manager) revise(id string, change func(*registry.Container) bool) {
	defer m.hold(id)()
	old, err := m.cfg.Registry.Get(id)
	if errors.Is(err, registry.ErrNotFound) {
		return // removed, or not yet written
	}
	if err != nil {
		m.fail("registry", "a container's entry is not usable", err, "container", id)
		return
	}
	c := new(registry.Container)
	*c = *old
	if change(c) {
		_ = m.putChanged(old, c) // counted and logged; the next round of Reconcile tries again
	}
}

// alive reports whether the container's init is the process that was noted:
// of one that has ended, or not begun, the limits above it would be read.
func (m *Manager) alive(c *registry.Container) bool {
	if c.PID == 0 || c.BootID != m.cfg.BootID {
		return false
	}
	ticks, _, err := m.cfg.Kernel.Process(c.PID)
	return err == nil && ticks == c.StartTicks
}
