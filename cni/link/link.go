// Package link is a thin shell round rtnetlink and /proc/sys/net: the few
// operations on links, addresses, routes and neighbours that the plugin needs.
// It decides nothing.
//
// A [Conn] is bound to the namespace it was opened in, so that one thread can
// work on the node's and on the pod's links without changing namespaces.
package link

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/internal/file"
	"github.com/truesize/truesize/cni/netns"
)

var (
	// ErrNotFound says that there is no such link.
	ErrNotFound = errors.New("no such link")
	// ErrExists says that a link of that name exists.
	ErrExists = errors.New("a link of that name exists")
	// ErrMACInUse says that another macvlan of the master has the MAC.
	ErrMACInUse = errors.New("another link of the same master has this MAC address")
	// ErrMasterBusy says that the master cannot carry this macvlan: it has an
	// ipvlan, a passthru macvlan, or is a bridge's port.
	ErrMasterBusy = errors.New("the master is taken")
	// ErrUnsupported says that the kernel has no such kind of link.
	ErrUnsupported = errors.New("the kernel does not support it")
)

// A Conn is an rtnetlink socket in one namespace.
type Conn struct {
	*netlink.Handle
	ns *netns.NS
}

// Dial opens an rtnetlink socket in ns.
func Dial(ns *netns.NS) (*Conn, error) {
	at := vnetns.NsHandle(ns.Fd())
	if ns.Here() {
		at = vnetns.None() // no need to go there and back
	}
	h, err := netlink.NewHandleAt(at, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink in %s: %w", ns.Path(), err)
	}
	return &Conn{Handle: h, ns: ns}, nil
}

// NS is the namespace the socket is in.
func (c *Conn) NS() *netns.NS { return c.ns }

// ByName returns the link called name; the error wraps [ErrNotFound].
func (c *Conn) ByName(name string) (netlink.Link, error) {
	l, err := c.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err != nil {
		return nil, fmt.Errorf("look up link %s: %w", name, err)
	}
	return l, nil
}

// maxLists is how often a list is asked for that changes meanwhile.
const maxLists = 100

// AddrList is that of [netlink.Handle], asked again when addresses or links of
// the namespace changed while the kernel told them: on a node with many, one
// for each Service say, any that comes or goes does that.
func (c *Conn) AddrList(l netlink.Link, family int) ([]netlink.Addr, error) {
	for try := 1; ; try++ {
		list, err := c.Handle.AddrList(l, family)
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == maxLists {
			return list, err
		}
	}
}

// Delete removes the link called name; none there is no error.
func (c *Conn) Delete(name string) error {
	l, err := c.ByName(name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// Macvlan is a macvlan link to make.
type Macvlan struct {
	Name       string
	Interim    string // what it may be called before; the caller knows it, so that it can take it back
	Parent     int    // index of the lower link in the namespace of the call
	Mode       netlink.MacvlanMode
	MTU        int              // 0: the parent's
	MAC        net.HardwareAddr // nil: the kernel's choice
	BCQueueLen uint32           // 0: the kernel's default
	NoARP      bool
	Broadcast  net.HardwareAddr // nil: ff:ff:ff:ff:ff:ff
}

// AddMacvlan makes the link with its final name straight in the namespace
// into. Kernels up to 6.1, if not later, look for the name in the namespace of
// the call too, and answer EEXIST where the node has one of that name, eth0 say;
// then it is made under its interim name and renamed.
func (c *Conn) AddMacvlan(m Macvlan, into *Conn) error {
	err := c.newMacvlan(m, into.ns)
	if !errors.Is(err, ErrExists) || c.ns.ID() == into.ns.ID() {
		return err
	}
	if _, lerr := into.ByName(m.Name); lerr == nil {
		return fmt.Errorf("make macvlan %s: %w", m.Name, ErrExists)
	}
	final := m.Name
	m.Name = m.Interim
	if err := c.newMacvlan(m, into.ns); err != nil {
		return err
	}
	l, err := into.ByName(m.Name)
	if err != nil {
		return err
	}
	if err := into.LinkSetName(l, final); err != nil {
		_ = into.LinkDel(l)
		return fmt.Errorf("rename macvlan to %s: %w", final, err)
	}
	return nil
}

func (c *Conn) newMacvlan(m Macvlan, into *netns.NS) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	if m.NoARP {
		msg.Flags, msg.Change = unix.IFF_NOARP, unix.IFF_NOARP
	}
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(m.Name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(m.Parent))))
	req.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(into.Fd()))))
	if m.MTU > 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(m.MTU))))
	}
	if m.MAC != nil {
		req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, m.MAC))
	}
	if m.Broadcast != nil {
		req.AddData(nl.NewRtAttr(unix.IFLA_BROADCAST, m.Broadcast))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("macvlan"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_MACVLAN_MODE, nl.Uint32Attr(modeBits[m.Mode]))
	if m.BCQueueLen > 0 {
		data.AddRtAttr(nl.IFLA_MACVLAN_BC_QUEUE_LEN, nl.Uint32Attr(m.BCQueueLen))
	}
	req.AddData(info)
	err := c.ns.Do(func() error {
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
	return explainNew("macvlan", m.Name, err)
}

// modeBits are the kernel's numbers (include/uapi/linux/if_link.h).
var modeBits = map[netlink.MacvlanMode]uint32{
	netlink.MACVLAN_MODE_PRIVATE:  nl.MACVLAN_MODE_PRIVATE,
	netlink.MACVLAN_MODE_VEPA:     nl.MACVLAN_MODE_VEPA,
	netlink.MACVLAN_MODE_BRIDGE:   nl.MACVLAN_MODE_BRIDGE,
	netlink.MACVLAN_MODE_PASSTHRU: nl.MACVLAN_MODE_PASSTHRU,
}

// explainNew gives the kernel's answers to RTM_NEWLINK their meaning here.
func explainNew(kind, name string, err error) error {
	var why error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST):
		why = ErrExists
	case errors.Is(err, unix.EOPNOTSUPP):
		why = ErrUnsupported
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EINVAL):
		why = ErrMasterBusy
	case errors.Is(err, unix.EADDRINUSE):
		why = ErrMACInUse
	default:
		return fmt.Errorf("make %s %s: %w", kind, name, err)
	}
	return fmt.Errorf("make %s %s: %w (%w)", kind, name, why, err)
}

// Up sets the link up. The error wraps [ErrMACInUse] when a macvlan's MAC is
// another's of the same master.
func (c *Conn) Up(l netlink.Link) error {
	err := c.LinkSetUp(l)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("set %s up: %w: %s", l.Attrs().Name, ErrMACInUse, l.Attrs().HardwareAddr)
	case err != nil:
		return fmt.Errorf("set %s up: %w", l.Attrs().Name, err)
	}
	return nil
}

// Sysctl writes value to net/<key> of the socket's namespace. A key that does
// not exist is an error wrapping [os.ErrNotExist]. A file that cannot be
// written and holds the value is no error: /proc/sys may be read-only.
func (c *Conn) Sysctl(key, value string) error {
	return c.ns.Do(func() error { return SysctlHere(key, value) })
}

// SysctlHere is [Conn.Sysctl] for the calling thread's namespace.
func SysctlHere(key, value string) error {
	path := filepath.Join("/proc/sys/net", key)
	if err := file.Set(path, value); err != nil {
		if have, rerr := file.Read(path); rerr == nil && string(have) == value+"\n" {
			return nil
		}
		return fmt.Errorf("set sysctl net/%s=%s: %w", key, value, err)
	}
	return nil
}

// AddVLAN makes the 802.1Q link of VLAN id on the link of index parent, with
// an alias to know it by.
func (c *Conn) AddVLAN(name string, parent, id int, alias string) error {
	v := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent, Alias: alias}, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	if err := explainNew("vlan", name, c.LinkAdd(v)); err != nil {
		return err
	}
	l, err := c.ByName(name)
	if err != nil {
		return err
	}
	if err := c.LinkSetAlias(l, alias); err != nil {
		_ = c.LinkDel(l)
		return fmt.Errorf("set alias of %s: %w", name, err)
	}
	return nil
}

// AddIFB makes an intermediate functional block, a link that only queues.
func (c *Conn) AddIFB(name string, mtu int) error {
	l := &netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}}
	return explainNew("ifb", name, c.LinkAdd(l))
}

// RedirectIngress sends all that the link of index from receives through the
// egress of the link of index to.
func (c *Conn) RedirectIngress(from, to int) error {
	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: from, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
	if err := c.QdiscAdd(ingress); err != nil {
		return fmt.Errorf("add ingress queue: %w", err)
	}
	all := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: from, Parent: ingress.Handle, Priority: 1, Protocol: unix.ETH_P_ALL},
		ClassId:     netlink.MakeHandle(1, 1),
		Actions:     []netlink.Action{netlink.NewMirredAction(to)},
	}
	if err := c.FilterAdd(all); err != nil {
		return fmt.Errorf("redirect ingress: %w", err)
	}
	return nil
}
