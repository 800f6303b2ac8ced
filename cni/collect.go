package cni

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/counters"
	"github.com/truesize/truesize/cni/internal/flock"
	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/netns"
	"github.com/truesize/truesize/cni/state"
)

// collect takes back the attachments of network that are dead. It leaves
// those that another call is working on. rec is nil for a record that cannot
// be read; lost makes the record to collect such a one by.
func (c *engine) collect(network string, dead func(k state.Key, rec *state.Attachment) bool, lost func(state.Key) *state.Attachment) (int, error) {
	keys, err := c.dir.List(network)
	if err != nil {
		return 0, err
	}
	n, errs := 0, []error(nil)
	for _, k := range keys {
		done, err := c.collectOne(k, dead, lost)
		if err != nil {
			errs = append(errs, err)
		}
		if done {
			n++
		}
	}
	c.counted("attachment", n)
	return n, errors.Join(errs...)
}

func (c *engine) collectOne(k state.Key, dead func(state.Key, *state.Attachment) bool, lost func(state.Key) *state.Attachment) (done bool, err error) {
	lock, err := c.dir.LockAttachment(k, 0)
	if errors.Is(err, flock.ErrBusy) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { lock.Release(!done) }()
	rec, err := c.dir.Get(k)
	if errors.Is(err, state.ErrNotFound) {
		return true, nil
	}
	if err != nil && !errors.Is(err, state.ErrCorrupt) {
		return false, err
	}
	if !dead(k, rec) {
		return false, nil
	}
	if rec == nil {
		rec = lost(k)
	}
	err = c.takeBack(rec)
	return err == nil, err
}

// gone reports whether the attachment cannot be alive: it is of an earlier
// boot, or its namespace's path is gone (or another's by now) and its macvlan is
// too. A namespace can live on without its path; the macvlan in it then still
// has the address.
func (c *engine) gone(rec *state.Attachment) bool {
	if !c.thisBoot(rec) {
		return true
	}
	id := netns.ID{Dev: rec.NetnsDev, Ino: rec.NetnsIno}
	ns, err := netns.Open(rec.Netns)
	if err == nil {
		same := ns.ID() == id
		ns.Close()
		if same {
			return false
		}
	} else if !errors.Is(err, netns.ErrNotExist) && !errors.Is(err, netns.ErrNotNS) {
		return false
	}
	if rec.InPod {
		return deserted(id) // its master is in there too
	}
	return !c.onMaster(rec)
}

// deserted reports whether no process is in the namespace; false where that
// cannot be said.
func deserted(id netns.ID) bool {
	in, err := netns.Inhabited("/proc", id)
	return err == nil && !in
}

// onMaster reports whether a macvlan of rec's MAC is up on its lower link:
// the kernel lists the MACs of a link's macvlans in its forwarding table,
// wherever their namespaces are. Of one in passthru mode, whose MAC is the
// link's own, it does not: there the namespace's processes tell.
func (c *engine) onMaster(rec *state.Attachment) bool {
	if rec.MAC == "" {
		return false
	}
	l, err := c.host.ByName(rec.Lower)
	if errors.Is(err, link.ErrNotFound) {
		return false // a macvlan does not outlive its lower link
	}
	if err != nil {
		return true
	}
	if rec.MAC == l.Attrs().HardwareAddr.String() {
		return !deserted(netns.ID{Dev: rec.NetnsDev, Ino: rec.NetnsIno})
	}
	list, err := c.host.NeighListExecute(netlink.Ndmsg{Family: afBridge, Index: uint32(l.Attrs().Index)})
	if err != nil {
		return true
	}
	for _, n := range list {
		if n.LinkIndex == l.Attrs().Index && n.HardwareAddr.String() == rec.MAC {
			return true
		}
	}
	return false
}

// afBridge is AF_BRIDGE, the family of forwarding tables.
const afBridge = 7

// sweepClaims removes claims whose attachment is not recorded.
func (c *engine) sweepClaims(network string) error {
	claims, err := c.dir.Claims(network)
	if err != nil {
		return err
	}
	n := 0
	for a, holder := range claims {
		if c.dir.UnclaimOrphan(network, a, holder) {
			n++
		}
	}
	c.counted("address", n)
	return nil
}

// sweepShims removes routes and neighbours on the shims that lead to
// addresses nobody claims, and shims that nobody uses.
func (c *engine) sweepShims() error {
	links, err := c.host.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	for _, l := range links {
		if !c.isOurShim(l) {
			continue
		}
		if err := c.sweepShim(l); err != nil {
			return err
		}
	}
	return nil
}

func (c *engine) sweepShim(l netlink.Link) error {
	name := l.Attrs().Name
	lock, err := c.dir.LockLink(name, 0)
	if errors.Is(err, flock.ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	used := true
	defer func() { lock.Release(used) }()
	if err := c.dir.PruneUsers(name); err != nil {
		return err
	}
	if used = c.dir.Used(name); !used {
		c.counted("link", 1)
		return c.host.Delete(name)
	}
	return c.sweepShimRoutes(l)
}

// sweepShimRoutes reads the routes before the claims: an ADD claims first.
func (c *engine) sweepShimRoutes(l netlink.Link) error {
	led, err := c.ledTo(l)
	if err != nil {
		return err
	}
	claimed, err := c.dir.AllClaims()
	if err != nil {
		return err
	}
	n := 0
	for _, a := range led {
		if claimed[a] {
			continue
		}
		if err := removeRoute(c.host, l, a); err != nil {
			return err
		}
		n++
	}
	c.counted("route", n)
	return nil
}

// ledTo lists the addresses to which the node has our route or a permanent
// neighbour on the shim.
func (c *engine) ledTo(l netlink.Link) ([]netip.Addr, error) {
	seen := map[netip.Addr]bool{}
	var list []netip.Addr
	note := func(b []byte) {
		if a, ok := netip.AddrFromSlice(b); ok && !seen[a.Unmap()] {
			seen[a.Unmap()] = true
			list = append(list, a.Unmap())
		}
	}
	filter := &netlink.Route{LinkIndex: l.Attrs().Index, Protocol: routeProtocol}
	routes, err := c.host.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		if r.Dst != nil {
			note(r.Dst.IP)
		}
	}
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		neighs, err := c.host.NeighList(l.Attrs().Index, f)
		if err != nil {
			return nil, err
		}
		for _, n := range neighs {
			if n.State&netlink.NUD_PERMANENT != 0 && !n.IP.IsMulticast() {
				note(n.IP)
			}
		}
	}
	return list, nil
}

func (c *engine) counted(kind string, n int) {
	if n > 0 {
		withCounters(c.dir.Run, func(s *counters.Set) { s.Collected(kind, n) })
	}
}
