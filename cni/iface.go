package cni

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/state"
)

// interimName names the pod's interface until it can have its own name. A call
// that is killed then leaves it, for takeBack to find.
func interimName(k state.Key) string { return "tsm" + hashed(k) }

// setUp sets the interface's sysctls and brings it up.
func (a *adding) setUp() error {
	if a.up {
		return nil
	}
	if err := a.tune(); err != nil {
		return err
	}
	l := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Index: a.index, Name: a.key.IfName, HardwareAddr: a.mac}}
	if err := a.pod.Up(l); err != nil {
		if errors.Is(err, link.ErrMACInUse) {
			return fail(codeMAC, fmt.Sprintf("the MAC address %s is in use by another link on %s; give this pod another one", a.mac, a.low.Attrs().Name), err)
		}
		return asCNI("bring the interface up", err)
	}
	a.up = true
	return nil
}

// tune sets the interface's sysctls, once.
func (a *adding) tune() error {
	if a.tuned {
		return nil
	}
	a.tuned = true
	return asCNI("set the interface's sysctls", a.pod.NS().Do(a.setSysctls))
}

// setSysctls runs in the pod's namespace. The kernel is to announce a later
// change of MAC (the tuning plugin's, say), and to do IPv6 where it was
// switched off and the pod has an IPv6 address.
func (a *adding) setSysctls() error {
	name := a.key.IfName
	for _, key := range []string{"ipv4/conf/" + name + "/arp_notify", "ipv6/conf/" + name + "/ndisc_notify"} {
		// Without IPv6 there is no ipv6 key; where /proc/sys is read-only we
		// announce by ourselves.
		if err := link.SysctlHere(key, "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			a.quiet = true
		}
	}
	if !hasIPv6(a.rec.Prefixes) {
		return nil
	}
	for _, kv := range [][2]string{
		{"ipv6/conf/lo/disable_ipv6", "0"},
		{"ipv6/conf/" + name + "/disable_ipv6", "0"},
		{"ipv6/conf/" + name + "/keep_addr_on_down", "1"},
	} {
		if err := link.SysctlHere(kv[0], kv[1]); err != nil {
			return err
		}
	}
	return nil
}

func hasIPv6(ps []netip.Prefix) bool {
	for _, p := range ps {
		if p.Addr().Is6() {
			return true
		}
	}
	return false
}

// addAddresses configures the result's addresses.
func (a *adding) addAddresses() error {
	if err := a.tune(); err != nil {
		return err
	}
	l := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Index: a.index, Name: a.key.IfName}}
	for _, p := range a.rec.Prefixes {
		n := ipNet(p)
		addr := &netlink.Addr{IPNet: &n}
		if p.Addr().Is6() {
			// Probed for already, or the admin wants no detection; the
			// kernel's own would hold the pod up for a second or two.
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := a.pod.AddrAdd(l, addr); err != nil {
			return asCNI(fmt.Sprintf("add the address %s to %s", p, a.key.IfName), err)
		}
	}
	return nil
}

// addRoutes configures the result's routes.
func (a *adding) addRoutes() error {
	for _, r := range a.result.Routes {
		route := podRoute(r, a.index, a.rec.Gateways)
		if err := a.pod.RouteAddEcmp(&route); err != nil {
			return asCNI(fmt.Sprintf("add the route %s via %s to %s", r.Dst.String(), route.Gw, a.key.IfName), err)
		}
	}
	return nil
}

// podRoute is a route of the result for the kernel: one without a gateway
// goes to the first gateway of its family.
func podRoute(r *types.Route, index int, gateways []netip.Addr) netlink.Route {
	dst := r.Dst
	route := netlink.Route{Dst: &dst, LinkIndex: index, Gw: r.GW, Priority: r.Priority, MTU: r.MTU, AdvMSS: r.AdvMSS}
	if route.Gw == nil {
		route.Gw = gatewayFor(dst.IP, gateways)
	}
	if r.Table != nil {
		route.Table = *r.Table
	}
	if r.Scope != nil {
		route.Scope = netlink.Scope(*r.Scope)
	}
	return route
}

func gatewayFor(dst net.IP, gateways []netip.Addr) net.IP {
	for _, g := range gateways {
		if g.Is4() == (dst.To4() != nil) {
			return g.AsSlice()
		}
	}
	return nil
}
