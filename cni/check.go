package cni

import (
	"context"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/delegate"
	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/netns"
)

// Check compares what is there with what ADD made and reported: the
// interface, its addresses and routes, the addresses' reservation, and the
// ways between node and pod.
func Check(ctx context.Context, args *Args) error {
	c, err := begin(ctx, args)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.enterPod(); err != nil {
		return err
	}
	if c.conf.PrevResult == nil {
		return fail(types.ErrInvalidNetworkConfig, "CHECK needs prevResult", nil)
	}
	res, err := current.NewResultFromResult(c.conf.PrevResult)
	if err != nil {
		return fail(types.ErrDecodingFailure, "prevResult cannot be used", err)
	}
	l, err := c.checkLink(res)
	if err != nil {
		return err
	}
	if err := c.checkAddresses(l, res); err != nil {
		return err
	}
	if err := c.checkIPAM(); err != nil {
		return err
	}
	return c.checkHostAccess()
}

// mismatch is CHECK's error.
func mismatch(format string, args ...any) error {
	return fail(codeMismatch, fmt.Sprintf(format, args...), nil)
}

// checkLink finds the interface of the result and compares it.
func (c *call) checkLink(res *current.Result) (netlink.Link, error) {
	if _, err := c.findMaster(); err != nil {
		return nil, err
	}
	var want *current.Interface
	for _, i := range res.Interfaces {
		if i.Name == c.key.IfName && i.Sandbox != "" {
			want = i
		}
	}
	if want == nil {
		return nil, mismatch("prevResult has no interface %s in a container", c.key.IfName)
	}
	if want.Sandbox != c.args.Netns && !sameNamespace(want.Sandbox, c.pod) {
		return nil, mismatch("%s was made in %s, not in %s", c.key.IfName, want.Sandbox, c.args.Netns)
	}
	l, err := c.pod.ByName(c.key.IfName)
	if err != nil {
		return nil, mismatch("the container has no interface %s", c.key.IfName)
	}
	mv, ok := l.(*netlink.Macvlan)
	switch {
	case !ok:
		return nil, mismatch("%s is a %s, not a macvlan", c.key.IfName, l.Type())
	case mv.Mode != c.conf.mode:
		return nil, mismatch("%s is not of mode %q", c.key.IfName, c.conf.Mode)
	case want.Mac != "" && want.Mac != l.Attrs().HardwareAddr.String():
		return nil, mismatch("%s has the MAC %s; it was made with %s", c.key.IfName, l.Attrs().HardwareAddr, want.Mac)
	case l.Attrs().Flags&net.FlagUp == 0:
		return nil, mismatch("%s is down", c.key.IfName)
	}
	return l, nil
}

func sameNamespace(path string, conn *link.Conn) bool {
	ns, err := netns.Open(path)
	if err != nil {
		return false
	}
	defer ns.Close()
	return ns.ID() == conn.NS().ID()
}

// checkAddresses looks for the result's addresses and routes.
func (c *call) checkAddresses(l netlink.Link, res *current.Result) error {
	have, err := c.pod.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return asCNI("read the interface's addresses", err)
	}
	for _, ip := range res.IPs {
		if ip.Interface != nil && *ip.Interface < len(res.Interfaces) && res.Interfaces[*ip.Interface].Name != c.key.IfName {
			continue // another plugin's of the list
		}
		found := false
		for _, h := range have {
			found = found || h.IPNet.String() == ip.Address.String()
		}
		if !found {
			return mismatch("%s does not have the address %s", c.key.IfName, ip.Address.String())
		}
	}
	for _, r := range res.Routes {
		if err := c.checkRoute(r); err != nil {
			return err
		}
	}
	return nil
}

// checkRoute looks for a route to the destination: in the table the result
// names, else in any, since the sbr plugin moves routes to tables of its own.
func (c *call) checkRoute(r *types.Route) error {
	dst := r.Dst
	filter, mask := &netlink.Route{Dst: &dst}, uint64(netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE)
	if r.Table != nil {
		filter.Table = *r.Table
	}
	if r.GW != nil {
		filter.Gw = r.GW
		mask |= netlink.RT_FILTER_GW
	}
	fam := netlink.FAMILY_V6
	if dst.IP.To4() != nil {
		fam = netlink.FAMILY_V4
	}
	routes, err := c.pod.RouteListFiltered(fam, filter, mask)
	if err != nil {
		return asCNI("read the container's routes", err)
	}
	if len(routes) == 0 {
		return mismatch("the container has no route to %s", dst.String())
	}
	return nil
}

// checkIPAM asks whether the addresses are still reserved.
func (c *call) checkIPAM() error {
	switch {
	case c.conf.delegated():
		_, err := delegate.Run(c.ctx, c.delegateCall("CHECK"))
		return asCNI("check the addresses", err)
	case !c.conf.inProcess():
		return nil
	}
	local, err := c.localConfig()
	if err != nil {
		return err
	}
	store, err := hostlocal.Open(local.DataDir, c.key.Network, lockWait)
	if err != nil {
		return asCNI("open the address store", err)
	}
	defer store.Close()
	held, err := store.Held(hostlocal.Owner{ID: c.key.ContainerID, IfName: c.key.IfName})
	if err != nil {
		return asCNI("read the address store", err)
	}
	if len(held) == 0 {
		return mismatch("no address is reserved for %s", c.key)
	}
	return nil
}

// checkHostAccess looks for the node's ways to the pod.
func (c *call) checkHostAccess() error {
	rec, err := c.dir.Get(c.key)
	if err != nil || rec.Host == nil {
		return nil // made by the reference plugin, or without host access
	}
	l, err := c.host.ByName(rec.Host.Link)
	if err != nil {
		return mismatch("the node has no link %s to reach the pod by", rec.Host.Link)
	}
	for _, p := range rec.Prefixes {
		if _, ok := sourceFor(p, rec.Host.HostIPs); !ok {
			continue
		}
		missing, err := c.missingWay(l, p.Addr())
		if err != nil {
			return asCNI("read the node's routes and neighbours", err)
		}
		if missing != "" {
			return mismatch("the node has no %s for %s on %s", missing, p.Addr(), rec.Host.Link)
		}
	}
	return nil
}
