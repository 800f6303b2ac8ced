package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/delegate"
	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/netns"
	"github.com/truesize/truesize/cni/state"
)

// An engine removes attachments. It needs their records only: no
// configuration, no runtime, no agent.
type engine struct {
	ctx  context.Context
	dir  *state.Dir
	host *link.Conn // in the node's namespace

	// given is how the present call was called, for the IPAM plugin of the
	// attachment it is about; nil where there is no such call.
	given    *delegate.Call
	givenFor state.Key
}

// takeBack removes all that the attachment of rec made, in the order that
// keeps every intermediate state safe: first nobody is led to the pod, then
// the pod has no interface, then its addresses are free, then it is
// forgotten. It goes on after an error; the record stays until all is gone,
// so that any later call can finish.
func (c *engine) takeBack(rec *state.Attachment) error {
	if rec.Phase != "" && rec.Phase != state.Deleting {
		rec.Phase = state.Deleting
		_ = c.dir.Put(rec) // a full disk must not stop what frees it
	}
	var errs []error
	if err := c.removeHostAccess(rec); err != nil {
		errs = append(errs, err)
	}
	if err := c.removePodLinks(rec); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		// An address is not free while its interface may still answer.
		if err := c.releaseAddresses(rec); err != nil {
			errs = append(errs, err)
		}
	}
	if err := c.leaveVLAN(rec); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return c.dir.Remove(rec.Key)
}

// thisBoot reports whether the links of rec can still exist.
func (c *engine) thisBoot(rec *state.Attachment) bool { return rec.BootID == c.dir.BootID }

// removeHostAccess takes the node's ways to the pod away; only for addresses
// that are still this attachment's.
func (c *engine) removeHostAccess(rec *state.Attachment) error {
	if rec.Host == nil {
		return nil
	}
	if rec.Host.Kind == kindVeth {
		if !c.thisBoot(rec) {
			return nil
		}
		return c.host.Delete(rec.Host.Link)
	}
	if c.thisBoot(rec) {
		if err := c.removeShimRoutes(rec); err != nil {
			return err
		}
	}
	return c.leaveShim(rec)
}

func (c *engine) removeShimRoutes(rec *state.Attachment) error {
	l, err := c.host.ByName(rec.Host.Link)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, p := range rec.Prefixes {
		if !c.dir.Claimed(rec.Key, p.Addr()) {
			continue
		}
		if err := removeRoute(c.host, l, p.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// removeRoute removes the node's route and neighbour for a pod's address.
func removeRoute(host *link.Conn, l netlink.Link, a netip.Addr) error {
	n := ipNet(netip.PrefixFrom(a, a.BitLen()))
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: &n, Scope: netlink.SCOPE_LINK}
	if a.Is6() {
		r.Scope = netlink.SCOPE_UNIVERSE // the kernel's IPv6 routes have no other
	}
	if err := host.RouteDel(r); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove route %s dev %s: %w", a, l.Attrs().Name, err)
	}
	err := host.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: family(a), IP: a.AsSlice()})
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove neighbour %s dev %s: %w", a, l.Attrs().Name, err)
	}
	return nil
}

// leaveShim ends this attachment's use of the shim; the last one removes it.
func (c *engine) leaveShim(rec *state.Attachment) error {
	lock, err := c.dir.LockLink(rec.Host.Link, lockWait)
	if err != nil {
		return err
	}
	defer lock.Release(false)
	left, err := c.dir.Unuse(rec.Key, rec.Host.Link)
	if err != nil || left > 0 || !c.thisBoot(rec) {
		return err
	}
	return c.deleteShim(rec.Host.Link)
}

// deleteShim leaves a link that somebody else gave the shim's name, which is
// why an ADD has failed.
func (c *engine) deleteShim(name string) error {
	l, err := c.host.ByName(name)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err != nil || !c.isOurShim(l) {
		return err
	}
	return c.host.Delete(name)
}

// removePodLinks deletes the pod's interface, if its namespace is the one in
// which it was made. A namespace that is gone took the interface with it.
func (c *engine) removePodLinks(rec *state.Attachment) error {
	if rec.Netns == "" || !c.thisBoot(rec) {
		return nil
	}
	ns, err := netns.Open(rec.Netns)
	if errors.Is(err, netns.ErrNotExist) || errors.Is(err, netns.ErrNotNS) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ns.Close()
	known := rec.NetnsIno != 0
	if ns.ID() == c.host.NS().ID() || known && (ns.ID() != netns.ID{Dev: rec.NetnsDev, Ino: rec.NetnsIno}) {
		return nil
	}
	if !known && c.othersLink(rec.Key, ns.ID()) {
		return nil
	}
	conn, err := link.Dial(ns)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, name := range []string{ifbName(rec.Key), interimName(rec.Key)} {
		if err := conn.Delete(name); err != nil {
			return err
		}
	}
	l, err := conn.ByName(rec.IfName)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, ours := l.(*netlink.Macvlan); !ours {
		return nil
	}
	return conn.Delete(rec.IfName)
}

// othersLink reports whether the interface k.IfName of the namespace is
// recorded as another attachment's: a late DEL came with a path that is a
// younger container's by now.
func (c *engine) othersLink(k state.Key, ns netns.ID) bool {
	networks, err := c.dir.Networks()
	if err != nil {
		return false
	}
	for _, n := range networks {
		keys, err := c.dir.List(n)
		if err != nil {
			return false
		}
		for _, other := range keys {
			if other == k || other.IfName != k.IfName {
				continue
			}
			rec, err := c.dir.Get(other)
			if err == nil && c.thisBoot(rec) && (ns == netns.ID{Dev: rec.NetnsDev, Ino: rec.NetnsIno}) {
				return true
			}
		}
	}
	return false
}

// releaseAddresses gives the addresses back to where they came from.
func (c *engine) releaseAddresses(rec *state.Attachment) error {
	switch {
	case rec.IPAM.Type == "host-local":
		if err := c.releaseLocal(rec); err != nil {
			return err
		}
	case rec.IPAM.Delegated():
		if err := c.releaseDelegated(rec); err != nil {
			return err
		}
	}
	return c.dropClaims(rec)
}

// releaseDelegated calls DEL of the IPAM plugin: as it was called for ADD, or
// with what the present call was given for the same attachment. That one's
// configuration may have another plugin by now, which never had the addresses.
func (c *engine) releaseDelegated(rec *state.Attachment) error {
	d := delegate.Call{Plugin: rec.IPAM.Type, Path: rec.Path, Command: "DEL", ContainerID: rec.ContainerID,
		Netns: rec.Netns, IfName: rec.IfName, Args: rec.Args, Config: rec.Config}
	if c.given != nil && rec.Key == c.givenFor && c.given.Plugin == rec.IPAM.Type {
		d = *c.given
		d.Command = "DEL"
	}
	_, err := delegate.Run(c.ctx, d)
	var e *types.Error
	if errors.As(err, &e) && e.Code == types.ErrUnknownContainer {
		return nil
	}
	return err
}

// dropClaims ends the attachment's claims. A record written before its
// addresses were known does not list them.
func (c *engine) dropClaims(rec *state.Attachment) error {
	for _, p := range rec.Prefixes {
		c.dir.Unclaim(rec.Key, p.Addr())
	}
	if len(rec.Prefixes) > 0 {
		return nil
	}
	claims, err := c.dir.Claims(rec.Network)
	if err != nil {
		return err
	}
	for a := range claims {
		c.dir.Unclaim(rec.Key, a)
	}
	return nil
}
