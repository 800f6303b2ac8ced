package view

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/kept"
	"github.com/truesize/truesize/fuse/procview"
	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/procfs"
	"github.com/truesize/truesize/pkg/pulse"
	"github.com/truesize/truesize/pkg/registry"
)

// Options are what a [View] is made of.
type Options struct {
	Registry   *registry.Dir
	CgroupRoot string // /sys/fs/cgroup
	ProcRoot   string // /proc of the host
	SysRoot    string // /sys of the host
	// Freshness is how old what a container reads may be, for the files that
	// tell of use.
	Freshness time.Duration
	// Threads is the number of threads that serve requests.
	Threads int
	// Preparer reads what readers are about to read; nil: nobody does.
	Preparer fuse.Preparer
	// Kept is what outlives the server; nil: nothing does.
	Kept    *kept.Memory
	Version string
	Log     *slog.Logger
}

// A View follows the registry and renders the files of its containers.
type View struct {
	Server *fuse.Server

	reg     *registry.Dir
	cgroups *cgroup.FS
	host    *host
	node    nodeLayouts
	devices devicePool
	clock   time.Duration // when the host's boot time was read last, see clock
	log     *slog.Logger
	paths   []string
	stats   stats

	kept       *kept.Memory
	mu         sync.Mutex
	containers map[string]*container
	badEntries map[string]bool
}

// nodeLayouts are the renderers that are the same for every container.
type nodeLayouts struct {
	loadavg   *procview.Loadavg
	uptime    *procview.Uptime
	diskstats atomic.Pointer[procview.Diskstats]
}

// New returns a view of the containers that are in the registry.
func New(o Options) (v *View, err error) {
	v = &View{
		reg: o.Registry, log: o.Log, kept: o.Kept,
		containers: make(map[string]*container),
		badEntries: make(map[string]bool),
	}
	files := Files(o.Freshness)
	for _, f := range files {
		v.paths = append(v.paths, f.Path)
	}
	tree, err := fuse.NewTree(files)
	if err != nil {
		return nil, err
	}
	if v.cgroups, err = cgroup.Detect(o.CgroupRoot); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			v.cgroups.Close()
		}
	}()
	if v.host, err = openHost(o.ProcRoot, o.SysRoot); err != nil {
		return nil, err
	}
	v.clock = clock()
	v.node.loadavg, v.node.uptime = procview.NewLoadavg(), procview.NewUptime()
	v.refreshDisks()
	v.Server, err = fuse.New(fuse.Options{
		Tree: tree, Version: o.Version, Threads: o.Threads, Find: v.find, Kept: o.Kept, Preparer: o.Preparer,
		Warn: func(err error) { v.log.Warn("less safe than it should be", "error", err) },
		Panicked: func(value string, stack []byte) {
			v.log.Error("a request panicked", "value", value, "stack", string(stack))
		},
	})
	if err != nil {
		v.host.close()
		return nil, err
	}
	return v, v.loadAll()
}

// loadAll takes over every entry, before the first request: the kernel may
// hold inodes that an earlier server gave it.
func (v *View) loadAll() error {
	ids, err := v.reg.IDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		v.reload(id)
	}
	return nil
}

// Resume brings the view to where a predecessor that may have served until
// now has left it: what it knew before is out of date. It must not have served
// yet.
func (v *View) Resume() {
	var last *kept.Snapshots
	if v.kept != nil {
		last = v.kept.Snapshots()
	}
	// Before the entries: one that has changed carries the counters on, and
	// stores them.
	v.resumeAll(last)
	for _, id := range v.knownIDs() {
		v.reload(id)
	}
	_ = v.loadAll()
	v.resumeAll(last) // those that came meanwhile
	v.refreshDisks()
}

func (v *View) resumeAll(last *kept.Snapshots) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.containers {
		c.resume(last)
	}
}

func (v *View) knownIDs() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Collect(maps.Keys(v.containers))
}

// Run follows the registry and counts the containers' load until ctx ends.
func (v *View) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { v.sample(ctx) })
	wg.Go(func() { v.retry(ctx) })
	err := v.reg.Watch(ctx, v.reload, func(err error) {
		v.log.Warn("the registry is looked at every second, as the kernel does not tell of its changes", "error", err)
	})
	wg.Wait()
	if errors.Is(err, ctx.Err()) {
		err = nil
	}
	return err
}

// Close frees what the view holds. No request may be served any more.
func (v *View) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.containers {
		c.close()
	}
	v.cgroups.Close()
	v.host.close()
}

// retryEvery is how often the view looks after what no event tells.
const retryEvery = time.Second

// retry reloads the entries that cannot be used, as what was wrong may not be
// in them, and those that are gone: a container that a look-up brought in may
// have been removed before the registry's watch ever saw it.
func (v *View) retry(ctx context.Context) {
	for pulse.Wait(ctx, retryEvery) == nil {
		for _, id := range v.doubtful() {
			v.reload(id)
		}
	}
}

// doubtful returns the containers that retry is for.
func (v *View) doubtful() []string {
	known := v.knownIDs() // before the registry is listed: a new one is in both
	there, err := v.reg.IDs()
	v.mu.Lock()
	defer v.mu.Unlock()
	list := slices.Collect(maps.Keys(v.badEntries))
	if err == nil {
		for _, id := range known {
			if _, found := slices.BinarySearch(there, id); !found {
				list = append(list, id)
			}
		}
	}
	return list
}

func (v *View) path(file int) string { return v.paths[file] }

// find brings in a container that is looked up before its event was seen. A
// runtime waits for the answer, so that says only that the container is there:
// its entry is read when a file of it is looked up.
func (v *View) find(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.containers[id] != nil { // its event came while this one waited
		return true
	}
	if there, err := v.reg.Has(id); err != nil || !there {
		return false
	}
	c := newContainer(v, id)
	c.unread = true
	return v.put(id, c)
}

// reload brings the container in line with its entry: what the registry says
// now counts, whatever event led here.
func (v *View) reload(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.containers[id]
	e, stamp, err := v.reg.GetChanged(id, c.seen())
	v.countBad(id, err)
	switch {
	case err == nil && e == nil:
		return // it is the one in use
	case errors.Is(err, registry.ErrNotFound), err == nil && e.Skipped != "":
		v.drop(id, c)
		return
	case err != nil:
		// An entry that cannot be read is no reason to break its container.
		if c == nil {
			c = newContainer(v, id)
			c.markBad()
			if !v.put(id, c) {
				c.close()
			}
		}
		return
	}
	fresh := c == nil
	if fresh {
		c = newContainer(v, id)
	}
	switch changed, started := c.update(e, stamp); {
	case changed && !v.put(id, c):
		c.close()
	case started:
		v.Server.Started(id)
	}
}

// put gives the container to the server, or invalidates what the kernel holds
// of it, and reports whether it may be shown. mu is held.
func (v *View) put(id string, c *container) bool {
	if err := v.Server.Put(id, c); err != nil {
		v.stats.collisions.Add(1)
		v.log.Error("container not shown: rename it", "container", id, "error", err)
		return false
	}
	v.containers[id] = c
	return true
}

// drop takes a container away. mu is held.
func (v *View) drop(id string, c *container) {
	if c == nil {
		return
	}
	delete(v.containers, id)
	v.Server.Remove(id)
	c.close()
}

// countBad keeps the set of entries that cannot be used. mu is held.
func (v *View) countBad(id string, err error) {
	if err == nil || errors.Is(err, registry.ErrNotFound) {
		if v.badEntries[id] {
			delete(v.badEntries, id)
			v.log.Info("registry entry repaired", "container", id)
		}
		return
	}
	if !v.badEntries[id] {
		v.badEntries[id] = true
		v.stats.badEntries.Add(1)
		v.log.Error("registry entry not usable: the container sees its last size, or the host's files", "container", id, "error", err)
	}
}

// refreshDisks takes over the host's block devices. It returns whether they
// are others than before.
func (v *View) refreshDisks() bool {
	buf := make([]byte, 0, 8192)
	data, err := v.host.read(buf, diskstats)
	if err != nil {
		return false
	}
	disks := procview.ParseDiskstats(data)
	if old := v.node.diskstats.Load(); old != nil && old.Same(disks) {
		return false
	}
	d, err := procview.NewDiskstats(disks)
	if err != nil {
		v.stats.failed(diskstats, fmt.Errorf("host: %w", err))
		return false
	}
	return v.node.diskstats.Swap(d) != nil
}

// clock is what the node's clock shows, less the time since boot: it stays until
// somebody sets the clock.
func clock() time.Duration {
	return time.Duration(time.Now().UnixNano()) - procfs.SinceBoot()
}

// setBy is what the clock is set by at least for it to count. The kernel tells the
// boot time in seconds.
const setBy = time.Second / 2

// refreshBoot takes over the host's boot time where the clock was set since that
// was read: containers that start early on a node may start before its clock is
// right. It returns whether it did.
func (v *View) refreshBoot(now time.Duration) bool {
	if (now - v.clock).Abs() < setBy {
		return false
	}
	data, err := v.host.read(nil, stat)
	if err != nil {
		v.stats.failed(stat, fmt.Errorf("host: %w", err))
		return false
	}
	v.clock = now
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.containers {
		c.takeBoot(data)
	}
	return true
}
