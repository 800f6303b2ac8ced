package cni

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/state"
)

// Kinds of host access.
const (
	kindShim = "shim"
	kindVeth = "veth"
)

// routeProtocol marks the routes that are ours (rtnetlink(7), rtm_protocol;
// the number is in no list of /etc/iproute2).
const routeProtocol = 84

// maxName is the length of a link's name (IFNAMSIZ less its zero).
const maxName = 15

// addHostAccess makes the ways between the node and the pod. A macvlan never
// reaches its own master, so the node gets a link of its own beside the pods
// (the shim, in bridge mode), or a pair of veth ends for this pod.
//
// Neither end ever asks for the other's MAC: both have permanent neighbours,
// so the network hears nothing of the node's address being at another MAC.
func (a *adding) addHostAccess() error {
	if a.conf.HostAccess == hostAccessOff || len(a.rec.Prefixes) == 0 {
		return nil
	}
	plan, err := a.planHostAccess()
	if err != nil {
		return err
	}
	a.rec.Host = plan
	if err := a.dir.Put(a.rec); err != nil {
		return asCNI("write the attachment's record", err)
	}
	if plan.Kind == kindVeth {
		err = a.makeVeth(plan)
	} else {
		err = a.makeShim(plan)
	}
	if err != nil {
		return err
	}
	if err := hostSide(a.host, a.rec); err != nil {
		return asCNI("give the node its way to the pod", err)
	}
	return asCNI("give the pod its way to the node", podSide(a.pod, a.rec))
}

// planHostAccess decides what is to be made.
func (a *adding) planHostAccess() (*state.HostAccess, error) {
	plan := &state.HostAccess{Kind: kindShim, Services: a.conf.serviceNets}
	if a.conf.HostAccess == hostAccessVeth || a.conf.mode != netlink.MACVLAN_MODE_BRIDGE {
		plan.Kind = kindVeth
	}
	var err error
	if plan.HostIPs, err = a.nodeAddresses(); err != nil {
		return nil, err
	}
	if !serves(plan.HostIPs, a.rec.Prefixes) {
		return nil, fail(types.ErrInvalidNetworkConfig, fmt.Sprintf(
			"hostAccess: the node has no address of the pod's families on %s or its default link; set \"hostAddresses\"", a.rec.Lower), nil)
	}
	if plan.Kind == kindVeth {
		plan.Link, plan.PodLink = vethNames(a.key)
		return plan, nil
	}
	plan.Link = shimName(a.rec.Lower)
	return plan, nil
}

func serves(hostIPs []netip.Addr, pod []netip.Prefix) bool {
	for _, h := range hostIPs {
		for _, p := range pod {
			if h.Is4() == p.Addr().Is4() {
				return true
			}
		}
	}
	return false
}

// shimName names the shim of a lower link: an admin sees whose it is.
func shimName(lower string) string {
	if name := "ts-" + lower; len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(lower))
	return "ts-" + hex.EncodeToString(sum[:6])
}

// vethNames names the node's and the pod's end.
func vethNames(k state.Key) (host, pod string) {
	sum := sha256.Sum256([]byte(k.String()))
	name := hex.EncodeToString(sum[:5])
	return "tsv" + name, "ts" + name
}

// nodeAddresses are the addresses by which the pod is to reach the node: the
// configured ones, else for each family the lower link's, else the master's
// below a VLAN, else those of the link with the default route.
func (a *adding) nodeAddresses() ([]netip.Addr, error) {
	if len(a.conf.hostAddrs) > 0 {
		return a.conf.hostAddrs, nil
	}
	all, err := globalAddresses(a.host)
	if err != nil {
		return nil, asCNI("read the node's addresses", err)
	}
	found := all[a.low.Attrs().Index]
	if a.conf.VLAN != 0 {
		found = withMissing(found, all[a.low.Attrs().ParentIndex])
	}
	if hasFamily(found, true) && hasFamily(found, false) {
		return found, nil
	}
	name, err := defaultRouteLink(a.host)
	if err != nil {
		return found, nil // there is none: the family is not the node's
	}
	l, err := a.host.ByName(name)
	if err != nil {
		return found, nil
	}
	return withMissing(found, all[l.Attrs().Index]), nil
}

// withMissing returns list with those of more whose family it has none of.
func withMissing(list, more []netip.Addr) []netip.Addr {
	all := slices.Clone(list)
	for _, a := range more {
		if !hasFamily(list, a.Is4()) {
			all = append(all, a)
		}
	}
	return all
}

func hasFamily(list []netip.Addr, v4 bool) bool {
	for _, a := range list {
		if a.Is4() == v4 {
			return true
		}
	}
	return false
}

// globalAddresses are the usable addresses of a namespace by link index.
func globalAddresses(conn *link.Conn) (map[int][]netip.Addr, error) {
	list, err := conn.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	by := map[int][]netip.Addr{}
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok || a.Scope != unix.RT_SCOPE_UNIVERSE || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED|unix.IFA_F_TEMPORARY) != 0 {
			continue
		}
		by[a.LinkIndex] = append(by[a.LinkIndex], ip.Unmap())
	}
	return by, nil
}

// makeShim makes the lower link's shim unless it is there, and notes that
// this attachment uses it.
func (a *adding) makeShim(plan *state.HostAccess) error {
	lock, err := a.dir.LockLink(plan.Link, lockWait)
	if err != nil {
		return asCNI("wait for the shim link", err)
	}
	defer lock.Release(true)
	if err := a.dir.Use(a.key, plan.Link); err != nil {
		return asCNI("note the use of the shim link", err)
	}
	l, err := a.ensureShim(a.low.Link, plan.Link, macOfShimLink(a.low.Attrs().HardwareAddr, a.low.Attrs().Name))
	if err != nil {
		return asCNI("make the shim link", err)
	}
	plan.LinkMAC = l.Attrs().HardwareAddr.String()
	return asCNI("write the attachment's record", a.dir.Put(a.rec))
}

// ensureShim returns the shim called name on low, up, and with mac if it has to
// be made. What has its name and is no macvlan of low is not touched.
func (c *engine) ensureShim(low netlink.Link, name string, mac net.HardwareAddr) (netlink.Link, error) {
	l, err := c.host.ByName(name)
	if errors.Is(err, link.ErrNotFound) {
		if err := c.newShim(low, name, mac); err != nil {
			return nil, err
		}
		l, err = c.host.ByName(name)
	}
	if err != nil {
		return nil, err
	}
	if _, ok := l.(*netlink.Macvlan); !ok || l.Attrs().ParentIndex != low.Attrs().Index {
		return nil, fmt.Errorf("%w: %s is not a macvlan on %s; remove or rename it", link.ErrExists, name, low.Attrs().Name)
	}
	if err := shimSysctls(c.host, name); err != nil {
		return nil, err
	}
	if l.Attrs().Flags&net.FlagUp == 0 {
		if err := c.host.Up(l); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (c *engine) newShim(low netlink.Link, name string, mac net.HardwareAddr) error {
	err := c.host.AddMacvlan(link.Macvlan{
		Name: name, Parent: low.Attrs().Index, Mode: netlink.MACVLAN_MODE_BRIDGE,
		MAC: mac, NoARP: true,
		// The kernel hands broadcasts to every macvlan whose broadcast address
		// they match. With another one the node does not get each broadcast of
		// the network twice, on the master and on the shim.
		Broadcast: mac,
	}, c.host)
	if errors.Is(err, link.ErrExists) {
		return nil
	}
	if err != nil {
		return err
	}
	l, err := c.host.ByName(name)
	if err == nil {
		_ = c.host.LinkSetAlias(l, c.shimAlias()) // without it anybody collects it
	}
	return err
}

// shimAlias tells whose records say who uses a shim.
func (c *engine) shimAlias() string { return "truesize-macvlan " + filepath.Clean(c.dir.Run) }

// isOurShim knows a shim by its MAC, which is derived from a name and which
// nobody else derives so, and by the run directory in its alias: in that of
// somebody else, an agent that is configured otherwise say, nobody uses it.
func (c *engine) isOurShim(l netlink.Link) bool {
	mv, ok := l.(*netlink.Macvlan)
	if !ok {
		return false
	}
	at := mv.Attrs()
	return len(at.HardwareAddr) == 6 && at.HardwareAddr[0] == macOfShim && at.RawFlags&noARP != 0 &&
		(at.Alias == "" || at.Alias == c.shimAlias())
}

// noARP is IFF_NOARP.
const noARP = 0x80

// shimSysctls keep the shim silent and strict. Only packets of our own pods
// may come in through it (rp_filter: the route back is through it).
func shimSysctls(host *link.Conn, name string) error {
	return host.NS().Do(func() error {
		for _, kv := range [][2]string{
			{"ipv4/conf/" + name + "/rp_filter", "1"},
			{"ipv4/conf/" + name + "/arp_ignore", "8"},
			{"ipv6/conf/" + name + "/accept_ra", "0"},
			{"ipv6/conf/" + name + "/addr_gen_mode", "1"},
		} {
			if err := link.SysctlHere(kv[0], kv[1]); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// hostSide gives the node a neighbour and a route for each of the pod's
// addresses, from an address of its own that the pod knows.
func hostSide(host *link.Conn, rec *state.Attachment) error {
	l, err := host.ByName(rec.Host.Link)
	if err != nil {
		return err
	}
	mac := rec.MAC
	if rec.Host.Kind == kindVeth {
		mac = rec.Host.PodMAC
	}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	for _, p := range rec.Prefixes {
		src, ok := sourceFor(p, rec.Host.HostIPs)
		if !ok {
			continue
		}
		if err := host.NeighSet(permanent(l, p.Addr(), hw)); err != nil {
			return fmt.Errorf("add neighbour %s on %s: %w", p.Addr(), rec.Host.Link, err)
		}
		err := host.RouteReplace(hostRoute(l, p.Addr(), src))
		if errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("add route %s dev %s: %s is not an address of the node; correct \"hostAddresses\", or, if the node's address has changed, start the pod again: %w",
				p.Addr(), rec.Host.Link, src, err)
		}
		if err != nil {
			return fmt.Errorf("add route %s dev %s src %s: %w", p.Addr(), rec.Host.Link, src, err)
		}
	}
	return nil
}

// sourceFor is the node's address to talk to the pod from: one of the pod's
// own subnet if there is one.
func sourceFor(pod netip.Prefix, hostIPs []netip.Addr) (src netip.Addr, ok bool) {
	for _, h := range hostIPs {
		if h.Is4() != pod.Addr().Is4() {
			continue
		}
		if pod.Contains(h) {
			return h, true
		}
		if !ok {
			src, ok = h, true
		}
	}
	return src, ok
}

func permanent(l netlink.Link, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: l.Attrs().Index, Family: family(a), State: netlink.NUD_PERMANENT,
		IP: a.AsSlice(), HardwareAddr: mac}
}

func hostRoute(l netlink.Link, pod, src netip.Addr) *netlink.Route {
	n := ipNet(netip.PrefixFrom(pod, pod.BitLen()))
	return &netlink.Route{LinkIndex: l.Attrs().Index, Dst: &n, Src: src.AsSlice(),
		Scope: netlink.SCOPE_LINK, Protocol: routeProtocol}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// podSide gives the pod a neighbour for each of the node's addresses, a route
// to those that are not on its subnets (or always by the veth), and the routes
// to the Services through the node.
func podSide(pod *link.Conn, rec *state.Attachment) error {
	name := rec.IfName
	if rec.Host.Kind == kindVeth {
		name = rec.Host.PodLink
	}
	l, err := pod.ByName(name)
	if err != nil {
		return err
	}
	hw, err := net.ParseMAC(rec.Host.LinkMAC)
	if err != nil {
		return err
	}
	for _, h := range rec.Host.HostIPs {
		src, ok := sourceIn(rec.Prefixes, h)
		if !ok {
			continue
		}
		if err := pod.NeighSet(permanent(l, h, hw)); err != nil {
			return fmt.Errorf("add neighbour %s on %s: %w", h, name, err)
		}
		if rec.Host.Kind != kindVeth && onSubnet(rec.Prefixes, h) {
			continue
		}
		if err := pod.RouteReplace(hostRoute(l, h, src)); err != nil {
			return fmt.Errorf("add route %s dev %s: %w", h, name, err)
		}
	}
	return serviceRoutes(pod, l, rec)
}

func serviceRoutes(pod *link.Conn, l netlink.Link, rec *state.Attachment) error {
	for _, s := range rec.Host.Services {
		for _, h := range rec.Host.HostIPs {
			src, ok := sourceIn(rec.Prefixes, h)
			if h.Is4() != s.Addr().Is4() || !ok {
				continue
			}
			n := ipNet(s)
			r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: &n, Gw: h.AsSlice(), Src: src.AsSlice(),
				Flags: int(netlink.FLAG_ONLINK), Protocol: routeProtocol}
			if err := pod.RouteReplace(r); err != nil {
				return fmt.Errorf("add route %s via %s: %w", s, h, err)
			}
			break
		}
	}
	return nil
}

// sourceIn is the pod's address of h's family.
func sourceIn(pod []netip.Prefix, h netip.Addr) (netip.Addr, bool) {
	for _, p := range pod {
		if p.Addr().Is4() == h.Is4() {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

func onSubnet(pod []netip.Prefix, h netip.Addr) bool {
	for _, p := range pod {
		if p.Contains(h) {
			return true
		}
	}
	return false
}
