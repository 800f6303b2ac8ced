package lifecycle

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/registry"
)

// A runtime that tells of a container's start waits for the answer, and so does
// whoever starts the container. Nothing that is done with the container's process
// is that urgent, so it is looked for afterwards: docs/decisions/0011-process.md.

const (
	// settled is how old a container's oldest process is when it is taken for its
	// init: while a container is being created there are helpers of the runtime,
	// which do not last.
	settled = time.Second
	// maxLookAgain is the longest time between two looks for a container's
	// process, of one that was created and has not been started.
	maxLookAgain = 30 * time.Second
)

// awaited are the containers whose process is not known. The zero value is
// ready.
type awaited struct {
	mu   sync.Mutex
	byID map[string]sight
}

// A sight is what was seen of a container that is awaited.
type sight struct {
	paths map[string]string // of its cgroup, nil where they are not known
	since time.Time
	next  time.Time // when to look again
}

// await notes that a container's process has to be found, or has been.
func (m *Manager) await(c *registry.Container) {
	if c.PID != 0 {
		m.awaited.remove(c.ID)
		return
	}
	a := &m.awaited
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byID == nil {
		a.byID = make(map[string]sight)
	}
	if _, there := a.byID[c.ID]; !there {
		a.byID[c.ID] = sight{paths: c.Cgroup, since: m.now()}
	}
}

func (a *awaited) remove(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.byID, id)
}

// due returns those to look for now.
func (a *awaited) due(now time.Time) map[string]sight {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.byID) == 0 {
		return nil
	}
	due := maps.Clone(a.byID)
	maps.DeleteFunc(due, func(_ string, s sight) bool { return now.Before(s.next) })
	return due
}

// set notes what was seen of a container that is still awaited.
func (a *awaited) set(id string, s sight) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, there := a.byID[id]; there {
		a.byID[id] = s
	}
}

// Locate looks for the processes of containers of whose start nobody has told,
// and notes them as [Manager.Refresh] does; the next Reconcile measures. It is
// to be called about once a second. It returns when done, or when ctx ends.
func (m *Manager) Locate(ctx context.Context) {
	for id, s := range m.awaited.due(m.now()) {
		if ctx.Err() != nil {
			return
		}
		m.look(id, s)
	}
}

// look looks for the process of one container.
func (m *Manager) look(id string, s sight) {
	pid, age, err := m.cfg.Kernel.First(id, s.paths)
	if err != nil && !errors.Is(err, cgroup.ErrGone) && s.next.IsZero() { // once
		m.fail("process", "cannot look for a container's process", err, "container", id)
	}
	switch {
	case err == nil && pid != 0 && age < settled:
		return // again at the next call
	case err == nil && pid != 0 && m.found(id, pid):
		m.awaited.remove(id)
		return
	}
	// The longer it has not been started, the longer it may not be.
	s.next = m.now().Add(min(m.now().Sub(s.since)/2, maxLookAgain))
	m.awaited.set(id, s)
}

// found notes a container's process, and reports whether it is known then: it may
// have ended.
func (m *Manager) found(id string, pid int) (known bool) {
	m.revise(id, func(c *registry.Container) bool {
		if c.PID == 0 {
			m.locate(c, pid)
		}
		known = c.PID != 0
		return known
	})
	return known
}
