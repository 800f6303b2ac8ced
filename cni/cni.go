// Package cni is the macvlan CNI plugin: a pod is a host on the node's
// physical network. It implements ADD, DEL, CHECK, GC and STATUS of the CNI
// specification 1.1.0 (and 0.3.0 to 1.0.0) with the configuration keys and
// results of the reference macvlan plugin, and beyond them access between a
// node and its own pods, conflict detection, and collection of what crashes
// leave behind.
//
// What a call makes is written down before it is made (package state), so any
// later call takes it back: an ADD that failed by itself, DEL, GC, or the
// agent's reconciler. No part needs the agent to run.
//
// The package and all below it import no Kubernetes, gRPC or Prometheus code;
// they are linked into a program that is started for every pod.
package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/delegate"
	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/netns"
	"github.com/truesize/truesize/cni/state"
)

// lockWait bounds the waiting for another call on the same attachment, pool
// or link; runtimes give a call minutes.
const lockWait = 30 * time.Second

// A call is one invocation of the plugin with what it has opened.
type call struct {
	engine
	conf  *Conf
	args  *Args
	key   state.Key
	local *hostlocal.Config // once read
	pod   *link.Conn        // nil where the verb has no namespace, or it is gone
	undo  undo
}

// begin reads the configuration and opens the state and the node's namespace.
func begin(ctx context.Context, args *Args) (*call, error) {
	conf, err := confFor(args)
	if err != nil {
		args.runDir = runDirOf(args.StdinData)
		return nil, err
	}
	args.runDir = conf.RunDir
	if err := conf.checkHeader(args.Command); err != nil {
		return nil, err
	}
	c := &call{engine: engine{ctx: ctx}, conf: conf, args: args,
		key: state.Key{Network: conf.Name, ContainerID: args.ContainerID, IfName: args.IfName}}
	given := c.delegateCall("")
	c.given, c.givenFor = &given, c.key
	if c.dir, err = state.Open(conf.RunDir, conf.StateDir); err != nil {
		return nil, asCNI("open the plugin's state", err)
	}
	here, err := netns.Current()
	if err != nil {
		return nil, asCNI("open the node's network namespace", err)
	}
	if c.host, err = link.Dial(here); err != nil {
		here.Close()
		return nil, asCNI("open the node's network namespace", err)
	}
	return c, nil
}

// confFor is the configuration of a call. What a value in it cannot be is for
// ADD to say. The runtime repeats a DEL until it succeeds, and of a pod whose
// annotation ADD has refused that would be never.
func confFor(args *Args) (*Conf, error) {
	if args.Command != "DEL" {
		return ParseConf(args.StdinData, args.Args)
	}
	conf, err := decodeConf(args.StdinData)
	if err == nil {
		_ = conf.check(args.Args)
	}
	return conf, err
}

// enterPod opens the container's namespace.
func (c *call) enterPod() error {
	ns, err := netns.Open(c.args.Netns)
	if err != nil {
		return asCNI("open the container's network namespace", err)
	}
	if ns.ID() == c.host.NS().ID() {
		ns.Close()
		return fail(types.ErrInvalidNetNS, "CNI_NETNS is the plugin's own network namespace", nil)
	}
	if c.pod, err = link.Dial(ns); err != nil {
		ns.Close()
		return asCNI("open the container's network namespace", err)
	}
	return nil
}

// close lets go of the namespaces.
func (c *call) close() {
	for _, conn := range []*link.Conn{c.host, c.pod} {
		if conn != nil {
			conn.Close()
			conn.NS().Close()
		}
	}
}

// lower is the link that macvlans are put on: the master, or its VLAN.
type lower struct {
	netlink.Link
	conn *link.Conn // where it is
}

// findMaster looks the configured master up, or takes the link of the default
// route, and checks the configured MTU against it.
func (c *call) findMaster() (lower, error) {
	conn := c.host
	if c.conf.InPod {
		conn = c.pod
	}
	name := c.conf.Master
	if name == "" {
		var err error
		if name, err = defaultRouteLink(conn); err != nil {
			return lower{}, err
		}
	}
	l, err := conn.ByName(name)
	if err != nil {
		return lower{}, asCNI(fmt.Sprintf("the master %s is not there; correct \"master\", or make the link", name), err)
	}
	if mtu := l.Attrs().MTU; c.conf.MTU > mtu {
		return lower{}, fail(types.ErrInvalidNetworkConfig,
			fmt.Sprintf("mtu is %d and the master %s has %d; lower \"mtu\", or raise the master's", c.conf.MTU, name, mtu), nil)
	}
	return lower{Link: l, conn: conn}, nil
}

// defaultRouteLink names the link of a default route, IPv4 before IPv6.
func defaultRouteLink(conn *link.Conn) (string, error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := conn.RouteList(nil, family)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return "", asCNI("read routes to find the default master", err)
		}
		for _, r := range routes {
			if r.Dst != nil && r.Dst.IP != nil && !r.Dst.IP.IsUnspecified() || r.LinkIndex == 0 {
				continue
			}
			if r.Dst != nil {
				if ones, _ := r.Dst.Mask.Size(); ones != 0 {
					continue
				}
			}
			l, err := conn.LinkByIndex(r.LinkIndex)
			if err != nil {
				return "", asCNI("look up the link of the default route", err)
			}
			return l.Attrs().Name, nil
		}
	}
	return "", fail(types.ErrInvalidNetworkConfig, "no \"master\" is configured and there is no default route to take it from", nil)
}

// delegateCall is a call of the configured IPAM plugin for this attachment.
func (c *call) delegateCall(command string) delegate.Call {
	return delegate.Call{
		Plugin: c.conf.IPAM.Type, Path: c.args.Path, Command: command,
		ContainerID: c.args.ContainerID, Netns: c.args.Netns, IfName: c.args.IfName,
		Args: c.args.Args, Config: c.conf.forIPAM(c.args.StdinData),
	}
}

// unknown is the record of an attachment that has none: made by the reference
// plugin, or its record lost.
func (c *call) unknown() *state.Attachment {
	rec := &state.Attachment{Key: c.key, BootID: c.dir.BootID, Netns: c.args.Netns, Pod: c.conf.pod,
		IPAM: state.IPAM{Type: c.conf.IPAM.Type}}
	if c.conf.inProcess() {
		if local, err := c.localConfig(); err == nil {
			rec.IPAM.DataDir, rec.IPAM.Sticky = local.DataDir, c.sticky()
		}
	}
	return rec
}

// prefixesOf are the addresses of a result.
func prefixesOf(ips []*current.IPConfig) ([]netip.Prefix, error) {
	var ps []netip.Prefix
	for _, ip := range ips {
		a, ok := netip.AddrFromSlice(ip.Address.IP)
		ones, bits := ip.Address.Mask.Size()
		a = a.Unmap()
		if !ok || bits == 0 || ones > a.BitLen() {
			return nil, fail(types.ErrInternal, fmt.Sprintf("the IPAM plugin gave an address that is none: %v", ip.Address), nil)
		}
		ps = append(ps, netip.PrefixFrom(a, ones))
	}
	return ps, nil
}

// addrsOf are the prefixes' addresses.
func addrsOf(ps []netip.Prefix) []netip.Addr {
	as := make([]netip.Addr, len(ps))
	for i, p := range ps {
		as[i] = p.Addr()
	}
	return as
}
