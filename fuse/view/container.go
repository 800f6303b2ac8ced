package view

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/kept"
	"github.com/truesize/truesize/fuse/procview"
	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/procfs"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

// A container is what is kept of one container: it renders its files.
type container struct {
	v  *View
	id string

	mu    sync.Mutex
	paths map[string]string // its cgroup, as in the registry's entry
	pid   int
	start time.Duration // of its init, since boot
	sized *sized
	// bad says that the entry cannot be used: every file is the host's.
	bad bool
	// unstarted is until when the container is taken for one whose program
	// does not run yet, in ns since boot, which no clock that is set moves; 0
	// once it may.
	unstarted atomic.Int64
	// unread says that nobody has looked into the entry yet.
	unread bool
	stamp  registry.Stamp // of the entry as it was read last

	// group is opened when first needed: a container is registered before its
	// cgroup is made. opened says that it was there once.
	group  *cgroup.Group
	opened bool
	closed bool

	counters procview.Counters
	file     *counterFile // nil when it cannot be written
	lastUp   time.Duration

	load      procview.Load
	tasks     taskCount
	sampled   time.Time
	rests     time.Time // when its threads may be counted again
	countedAt uint64    // CPU time when tasks were counted, in µs
	failed    [numFiles]bool
}

// A taskCount is the state of a container's threads when they were counted.
type taskCount struct {
	running, blocked, total, lastPID int
	start                            uint64 // of the newest, in clock ticks since boot
}

func newContainer(v *View, id string) *container { return &container{v: v, id: id} }

// seen returns the stamp of the entry that is in use.
func (c *container) seen() registry.Stamp {
	if c == nil {
		return registry.Stamp{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stamp
}

// update takes over an entry. It returns whether what the kernel holds of the
// container's files has to go, and whether the container has started since.
func (c *container) update(e *registry.Container, stamp registry.Stamp) (changed, started bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamp = stamp
	waits := c.unstarted.Load() != 0
	changed = c.take(e)
	return changed, waits && e.PID > 0
}

// unstartedFor is for how long after its registration a container may be taken
// for one that has not started, while nothing tells that it has.
const unstartedFor = time.Second

// wait notes whether the container's program may run. mu is held.
func (c *container) wait(e *registry.Container, first bool) {
	switch {
	case e.PID > 0:
		c.unstarted.Store(0)
	case first:
		if left := unstartedFor - time.Since(e.CreatedAt); left > 0 {
			c.unstarted.Store(int64(procfs.SinceBoot() + min(left, unstartedFor)))
		}
	}
}

// Unstarted is [fuse.Unstarted]: a runtime mounts the files between the
// registration and the start.
func (c *container) Unstarted() time.Duration {
	until := c.unstarted.Load()
	if until == 0 {
		return 0
	}
	return max(time.Duration(until)-procfs.SinceBoot(), 0)
}

// Length is [fuse.Unstarted].
func (c *container) Length(file int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read()
	if c.bad {
		return 0
	}
	return c.sized.length(file, &c.v.node)
}

// Begun is [fuse.Unstarted]. Until the entry tells of the container's process,
// the oldest one in its cgroup tells when it started.
func (c *container) Begun() {
	c.unstarted.Store(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid != 0 || c.unread || c.bad || c.closed {
		return
	}
	pids, err := c.v.cgroups.Processes(c.paths, firstProcesses)
	if err != nil {
		return // when it was registered is near enough
	}
	if pid, start, err := procfs.Oldest(c.v.host.proc, pids); err == nil && pid != 0 {
		c.start = procfs.Ticks(start)
	}
}

// firstProcesses is how many processes a program that has just begun may have
// for its first one to be found among them.
const firstProcesses = 64

// read reads the entry of a container that was looked up before anything told
// of it. mu is held.
func (c *container) read() {
	if !c.unread {
		return
	}
	e, stamp, err := c.v.reg.GetChanged(c.id, registry.Stamp{})
	if err == nil && e.Skipped == "" {
		c.stamp = stamp
		c.take(e)
		return
	}
	c.showHost()
	go c.v.reload(c.id) // the view's own list has to follow
}

// take is update. mu is held.
func (c *container) take(e *registry.Container) (changed bool) {
	c.unread = false
	first := c.sized == nil
	if !first {
		c.advance() // what passed until now had the earlier size
	}
	if s := e.Decision.Size; first || c.bad || c.sized.size != s {
		z, errs := newSized(c.v.host, s)
		c.sized, changed = z, true
		for file, err := range errs {
			if err != nil {
				c.v.stats.failed(file, err)
				c.v.log.Warn("a file of the host is shown as it is", "container", c.id, "file", c.v.path(file), "error", err)
			}
		}
	}
	c.bad = false
	c.move(e.Cgroup, e.PID)
	c.wait(e, first)
	c.start = c.startOf(e)
	if first {
		c.openCounters()
	}
	return changed
}

// takeBoot takes over the boot time of the host's /proc/stat.
func (c *container) takeBoot(data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sized == nil {
		return // it is going to read the host's file itself
	}
	z := *c.sized
	var err error
	if z.stat, err = procview.NewStat(data, z.size.CPUs); err != nil {
		c.v.stats.failed(stat, err)
		return
	}
	c.sized = &z
}

// move takes over where the container's cgroup is, and its init. Until the
// container runs the cgroup is where its specification puts it, and may have
// been opened while it was being made; then it is where its process is. mu is
// held.
func (c *container) move(paths map[string]string, pid int) {
	stays := c.pid == pid && maps.Equal(c.paths, paths)
	c.paths, c.pid = paths, pid
	if c.group != nil && !stays {
		c.group.Close()
		c.group = nil // opened anew when next needed
	}
}

// markBad shows the host's files from now on, unless there was a good entry.
func (c *container) markBad() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.showHost()
}

// showHost is markBad. mu is held.
func (c *container) showHost() {
	c.unread = false
	if c.sized != nil {
		return // the last good one stays
	}
	c.bad = true
	c.sized, _ = newSized(c.v.host, size.Size{CPUs: 1, Memory: 1})
}

// startOf returns when the container's init started, or when it was
// registered, which is a little before, until that is known.
func (c *container) startOf(e *registry.Container) time.Duration {
	if e.StartTicks > 0 {
		return procfs.Ticks(e.StartTicks)
	}
	if e.PID > 0 {
		if s, err := procfs.ReadStat(c.v.host.proc, e.PID); err == nil {
			return procfs.Ticks(s.Start)
		}
	}
	now := procfs.SinceBoot()
	return max(0, now-max(0, time.Since(e.CreatedAt)))
}

// openCounters goes on from the counters that an earlier server stored.
func (c *container) openCounters() {
	c.counters = procview.NewCounters(c.start)
	dir, err := c.v.reg.ContainerDir(c.id)
	if err == nil {
		c.file, err = openCounters(filepath.Join(dir, "counters"))
	}
	if err != nil {
		c.v.stats.counterErrors.Add(1)
		c.v.log.Warn("the container's counters will not survive a restart", "container", c.id, "error", err)
		return
	}
	if err := c.file.load(&c.counters); err != nil && !errors.Is(err, procview.ErrCorrupt) {
		c.dropCounterFile(err)
	}
}

// resume goes on from what a predecessor has stored and shown last.
func (c *container) resume(last *kept.Snapshots) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last != nil {
		node, _ := fuse.NodeID(c.id, c.v.path(uptime))
		shown, _, _ := last.Load(node)
		if up, ok := procview.ParseUptime(shown); ok {
			c.lastUp = max(c.lastUp, up)
		}
	}
	if c.file == nil {
		return
	}
	if err := c.file.load(&c.counters); err != nil && !errors.Is(err, procview.ErrCorrupt) {
		c.dropCounterFile(err)
		return
	}
	// Not from what was shown: nobody may have read it for days.
	if load, at, err := c.file.loadLoad(); err == nil && procfs.SinceBoot()-at < loadsHold {
		c.load = load
	}
}

// loadsHold is for how long stored load averages are taken for those of now.
const loadsHold = time.Minute

func (c *container) dropCounterFile(err error) {
	c.file.close()
	c.file = nil
	c.v.stats.counterErrors.Add(1)
	c.v.log.Warn("the container's counters cannot be stored", "container", c.id, "error", err)
}

// cgroup returns the open cgroup, nil when it was not made yet. mu is held.
func (c *container) cgroup() (*cgroup.Group, error) {
	if c.group != nil {
		return c.group, nil
	}
	if c.closed {
		return nil, fmt.Errorf("container %s: %w", c.id, cgroup.ErrGone)
	}
	if len(c.paths) == 0 && c.pid == 0 {
		return nil, nil // registered, not created: where it will be is not known
	}
	g, err := c.v.cgroups.Open(c.paths)
	if errors.Is(err, cgroup.ErrGone) && !c.opened {
		return nil, nil // before the container's start
	}
	if err != nil {
		return nil, err
	}
	c.group, c.opened = g, true
	return g, nil
}

// gone closes the cgroup if that is what the error says: one that is made
// anew under the same path is another.
func (c *container) gone(g *cgroup.Group, err error) {
	if !errors.Is(err, cgroup.ErrGone) {
		return
	}
	if c.group == g {
		c.group = nil
	}
	g.Close()
}

// advance carries the counters on to now. mu is held.
func (c *container) advance() error {
	g, err := c.cgroup()
	if err != nil {
		return err
	}
	var cpu cgroup.CPU
	if g != nil {
		if cpu, err = g.CPU(); err != nil {
			c.gone(g, err)
			return err
		}
	}
	c.counters.Advance(procfs.SinceBoot(), cpu, c.sized.size.CPUs)
	if c.file != nil {
		if err := c.file.store(&c.counters); err != nil {
			c.dropCounterFile(err)
		}
	}
	return nil
}

// close frees what the container holds.
func (c *container) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.group != nil {
		c.group.Close()
		c.group = nil
	}
	if c.file != nil {
		c.file.close()
		c.file = nil
	}
}
