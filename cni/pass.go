package cni

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/counters"
	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/internal/flock"
	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/neigh"
	"github.com/truesize/truesize/cni/netns"
	"github.com/truesize/truesize/cni/state"
)

// announceFor is how long after its ADD an attachment is announced again in
// each pass: frames get lost.
const announceFor = 2 * time.Minute

// A Collector keeps a node's attachments right between the calls of its
// runtime. It works on the plugin's records alone. It must run in the node's
// network namespace.
type Collector struct {
	engine
}

// NewCollector opens the plugin's directories; empty ones are the defaults.
func NewCollector(runDir, stateDir string) (*Collector, error) {
	dir, err := state.Open(runDir, stateDir)
	if err != nil {
		return nil, err
	}
	here, err := netns.Current()
	if err != nil {
		return nil, err
	}
	host, err := link.Dial(here)
	if err != nil {
		here.Close()
		return nil, err
	}
	return &Collector{engine{ctx: context.Background(), dir: dir, host: host}}, nil
}

// Close lets go of the node's namespace.
func (c *Collector) Close() {
	c.host.Close()
	c.host.NS().Close()
}

// Pass collects what dead attachments have left, and puts right what living
// ones have lost on the node. An attachment is dead if it cannot be alive
// (earlier boot, namespace gone), or if forgotten, which may be nil, says so
// of it. Only the attachments of Kubernetes pods are put to forgotten: what an
// admin or another tool attaches is in nobody's list.
func (c *Collector) Pass(ctx context.Context, forgotten func(Attached) bool) error {
	c.ctx = ctx
	networks, err := c.dir.Networks()
	if err != nil {
		return err
	}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, n := range networks {
		note(c.passBoot(n))
		_, err := c.collect(n, func(_ state.Key, rec *state.Attachment) bool {
			return rec != nil && (c.gone(rec) || forgotten != nil && rec.Pod.Name != "" && forgotten(attached(rec)))
		}, nil)
		note(err)
		note(c.sweepClaims(n))
		note(c.dir.Tidy(n))
		note(c.restore(n))
	}
	note(c.sweepShims())
	return errors.Join(errs...)
}

// Attached is what is to be judged of an attachment whose namespace exists.
type Attached struct {
	ContainerID string
	Since       time.Time // when its ADD began
	ns          netns.ID
}

func attached(rec *state.Attachment) Attached {
	return Attached{rec.ContainerID, rec.Created, netns.ID{Dev: rec.NetnsDev, Ino: rec.NetnsIno}}
}

// Inhabited reports whether a process of the proc file system at proc is in
// the attachment's namespace; true where that cannot be said.
func (a Attached) Inhabited(proc string) bool {
	in, err := netns.Inhabited(proc, a.ns)
	return in || err != nil
}

// passBoot frees the addresses of an earlier boot.
func (c *Collector) passBoot(network string) error {
	p, err := c.readPool(network)
	if p == nil || err != nil {
		return err
	}
	store, err := hostlocal.OpenExisting(p.DataDir, network, time.Second)
	if store == nil || err != nil {
		return err
	}
	defer store.Close()
	return c.sweepBoot(network, store)
}

// restore gives living attachments their ways from the node back, where
// somebody has removed the shim, a route or a neighbour, and announces young
// ones again.
func (c *Collector) restore(network string) error {
	keys, err := c.dir.List(network)
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range keys {
		if err := c.restoreOne(k); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Collector) restoreOne(k state.Key) error {
	lock, err := c.dir.LockAttachment(k, 0)
	if errors.Is(err, flock.ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Release(true)
	rec, err := c.dir.Get(k)
	if err != nil || rec.Phase != state.Ready || !c.thisBoot(rec) {
		return nil // another pass, or DEL, sees to it
	}
	if err := c.restoreClaims(rec); err != nil {
		return err
	}
	if time.Since(rec.Created) < announceFor {
		c.announceAgain(rec)
	}
	if rec.Host == nil || c.waysAreThere(rec) {
		return nil
	}
	if rec.Host.Kind == kindShim {
		low, err := c.host.ByName(rec.Lower)
		if err != nil {
			return nil // nothing to put it on
		}
		if err := c.restoreShim(low, rec); err != nil {
			return err
		}
	}
	return hostSide(c.host, rec)
}

// restoreClaims comes before routes to addresses that nobody claims are swept.
func (c *Collector) restoreClaims(rec *state.Attachment) error {
	for _, p := range rec.Prefixes {
		if c.dir.Claimed(rec.Key, p.Addr()) {
			continue
		}
		if err := c.dir.Claim(rec.Key, p.Addr(), false); err != nil {
			return err
		}
	}
	return nil
}

// restoreShim makes the shim with the MAC by which the pod knows it: the one
// that it would get now follows from the master's, which a bond changes.
func (c *Collector) restoreShim(low netlink.Link, rec *state.Attachment) error {
	mac, err := net.ParseMAC(rec.Host.LinkMAC)
	if err != nil {
		return err
	}
	lock, err := c.dir.LockLink(rec.Host.Link, time.Second)
	if err != nil {
		return err
	}
	defer lock.Release(true)
	if err := c.dir.Use(rec.Key, rec.Host.Link); err != nil {
		return err
	}
	_, err = c.ensureShim(low, rec.Host.Link, mac)
	return err
}

// waysAreThere reports whether the node has a route and a neighbour for each
// of the pod's addresses.
func (c *engine) waysAreThere(rec *state.Attachment) bool {
	l, err := c.host.ByName(rec.Host.Link)
	if err != nil {
		return false
	}
	for _, p := range rec.Prefixes {
		if _, ok := sourceFor(p, rec.Host.HostIPs); !ok {
			continue
		}
		if missing, err := c.missingWay(l, p.Addr()); missing != "" || err != nil {
			return false
		}
	}
	return true
}

// missingWay names what the node lacks to reach a by l, "" for nothing.
func (c *engine) missingWay(l netlink.Link, a netip.Addr) (string, error) {
	dst := ipNet(netip.PrefixFrom(a, a.BitLen()))
	routes, err := c.host.RouteListFiltered(family(a), &netlink.Route{LinkIndex: l.Attrs().Index, Dst: &dst},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST)
	if err != nil {
		return "", err
	}
	if len(routes) == 0 {
		return "route", nil
	}
	neighs, err := c.host.NeighList(l.Attrs().Index, family(a))
	if err != nil {
		return "", err
	}
	for _, n := range neighs {
		if n.IP.Equal(a.AsSlice()) && n.State&netlink.NUD_PERMANENT != 0 {
			return "", nil
		}
	}
	return "neighbour", nil
}

// announceAgain is best effort.
func (c *engine) announceAgain(rec *state.Attachment) {
	ns, err := netns.Open(rec.Netns)
	if err != nil {
		return
	}
	defer ns.Close()
	if (ns.ID() != netns.ID{Dev: rec.NetnsDev, Ino: rec.NetnsIno}) || len(rec.Prefixes) == 0 {
		return
	}
	conn, err := link.Dial(ns)
	if err != nil {
		return
	}
	defer conn.Close()
	l, err := conn.ByName(rec.IfName)
	if err != nil {
		return
	}
	_ = ns.Do(func() error {
		return neigh.Announce(l.Attrs().Index, l.Attrs().HardwareAddr, addrsOf(rec.Prefixes))
	})
}

// A NetworkUsage is how full a network's own pools are.
type NetworkUsage struct {
	Attachments int
	IPv4, IPv6  hostlocal.Usage // zero where the addresses come from elsewhere
}

// Usage returns the networks' usage by name.
func (c *Collector) Usage() (map[string]NetworkUsage, error) {
	networks, err := c.dir.Networks()
	if err != nil {
		return nil, err
	}
	all := map[string]NetworkUsage{}
	for _, n := range networks {
		u, err := c.usage(n)
		if err != nil {
			return nil, err
		}
		all[n] = u
	}
	return all, nil
}

func (c *Collector) usage(network string) (u NetworkUsage, err error) {
	keys, err := c.dir.List(network)
	if err != nil {
		return u, err
	}
	u.Attachments = len(keys)
	p, err := c.readPool(network)
	if p == nil || err != nil {
		return u, err
	}
	store, err := hostlocal.OpenExisting(p.DataDir, network, time.Second)
	if store == nil || err != nil {
		return u, err
	}
	defer store.Close()
	both, err := store.Usage(p.Sets)
	u.IPv4, u.IPv6 = both[0], both[1]
	return u, err
}

// Counters returns what the plugin's calls and the collectors have counted.
func (c *Collector) Counters() (counters.Snapshot, error) {
	s, err := counters.Open(c.dir.Run)
	if err != nil {
		return counters.Snapshot{}, err
	}
	defer s.Close()
	return s.Snapshot(), nil
}
