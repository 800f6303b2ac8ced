package cni

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/state"
)

// makeVeth makes the pair of links between the node and this pod: for the
// modes in which a macvlan of the node cannot talk to the pod's.
func (a *adding) makeVeth(plan *state.HostAccess) error {
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: plan.Link, MTU: a.conf.MTU},
		PeerName:  plan.PodLink, PeerNamespace: netlink.NsFd(a.pod.NS().Fd()),
	}
	if err := a.host.LinkAdd(pair); err != nil {
		return asCNI("make the veth pair for hostAccess", fmt.Errorf("make veth %s: %w", plan.Link, err))
	}
	hostEnd, err := raise(a.host, plan.Link)
	if err != nil {
		return asCNI("bring the node's veth up", err)
	}
	podEnd, err := raise(a.pod, plan.PodLink)
	if err != nil {
		return asCNI("bring the pod's veth up", err)
	}
	plan.LinkMAC = hostEnd.Attrs().HardwareAddr.String()
	plan.PodMAC = podEnd.Attrs().HardwareAddr.String()
	return asCNI("write the attachment's record", a.dir.Put(a.rec))
}

// raise brings an end of the pair up, without addresses of its own.
func raise(conn *link.Conn, name string) (netlink.Link, error) {
	l, err := conn.ByName(name)
	if err != nil {
		return nil, err
	}
	for _, kv := range [][2]string{
		{"ipv4/conf/" + name + "/rp_filter", "1"},
		{"ipv6/conf/" + name + "/accept_ra", "0"},
		{"ipv6/conf/" + name + "/addr_gen_mode", "1"},
	} {
		if err := conn.Sysctl(kv[0], kv[1]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return l, conn.Up(l)
}
