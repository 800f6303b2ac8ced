package cni

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/delegate"
	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/state"
)

// fillIPAM checks the ipam section and notes in the record what will be
// needed to release the addresses.
func (a *adding) fillIPAM() error {
	switch {
	case a.conf.inProcess():
		local, err := a.localConfig()
		if err != nil {
			return err
		}
		a.rec.IPAM.DataDir = local.DataDir
		a.rec.IPAM.Sticky = a.sticky()
	case a.conf.delegated():
		if _, err := a.conf.fixedAddrs(); err != nil {
			return err
		}
		return asCNI("find the IPAM plugin", delegate.Find(a.conf.IPAM.Type, a.args.Path))
	}
	return nil
}

// localConfig reads the ipam section of the in-process host-local.
func (c *call) localConfig() (*hostlocal.Config, error) {
	if c.local != nil {
		return c.local, nil
	}
	local, err := hostlocal.ParseConfig(c.args.StdinData, c.conf.requested)
	if err != nil {
		return nil, fail(types.ErrInvalidNetworkConfig, "the host-local configuration cannot be used", err)
	}
	c.local = local
	return local, nil
}

// allocate takes addresses of the node's own pools.
func (a *adding) allocate() error {
	local, err := a.localConfig()
	if err != nil {
		return err
	}
	store, err := hostlocal.Open(local.DataDir, a.key.Network, lockWait)
	if err != nil {
		return asCNI("open the address store", err)
	}
	defer store.Close()
	if err := a.sweepBoot(a.key.Network, store); err != nil {
		return asCNI("release the addresses of an earlier boot", err)
	}
	if err := a.notePool(local); err != nil {
		return asCNI("write the pool's description", err)
	}
	req, err := a.request(local)
	if err != nil {
		return err
	}
	got, err := store.Allocate(local.Sets, req)
	if err != nil {
		return asCNI("allocate an address", err)
	}
	a.rec.Prefixes, a.rec.Gateways = nil, nil
	a.result = &current.Result{Routes: local.Routes}
	for _, g := range got {
		a.rec.Prefixes = append(a.rec.Prefixes, g.Addr)
		a.rec.Gateways = append(a.rec.Gateways, g.Gateway)
		a.result.IPs = append(a.result.IPs, &current.IPConfig{Address: ipNet(g.Addr), Gateway: g.Gateway.AsSlice()})
	}
	if err := a.claim(); err != nil {
		return err
	}
	if local.ResolvConf != "" {
		if a.result.DNS, err = readResolvConf(local.ResolvConf); err != nil {
			return asCNI("read ipam.resolvConf", err)
		}
	}
	return asCNI("write the sticky addresses", a.noteSticky(a.rec.Prefixes))
}

// request is what the pod gets addresses by.
func (a *adding) request(local *hostlocal.Config) (hostlocal.Request, error) {
	req := hostlocal.Request{
		Owner:     hostlocal.Owner{ID: a.key.ContainerID, IfName: a.key.IfName},
		Requested: local.Requested,
	}
	var err error
	if req.Preferred, req.Avoid, err = a.readSticky(); err != nil {
		return req, asCNI("read the sticky addresses", err)
	}
	if req.Never, err = a.readConflicts(); err != nil {
		return req, asCNI("read the conflicting addresses", err)
	}
	// The node cannot be probed for: a macvlan does not reach its own node.
	own, err := a.host.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return req, asCNI("read the node's addresses", err)
	}
	for _, o := range own {
		if ip, ok := netip.AddrFromSlice(o.IP); ok {
			req.Never[ip.Unmap()] = true
		}
	}
	return req, nil
}

// execIPAM runs the configured IPAM plugin.
func (a *adding) execIPAM() error {
	res, err := delegate.Add(a.ctx, a.delegateCall("ADD"))
	if err != nil {
		return asCNI("run the IPAM plugin", err)
	}
	if len(res.IPs) == 0 {
		return fail(types.ErrInternal, fmt.Sprintf("IPAM plugin %s gave no address", a.conf.IPAM.Type), nil)
	}
	if a.rec.Prefixes, err = prefixesOf(res.IPs); err != nil {
		return err
	}
	if err := a.mustHaveFixed(); err != nil {
		return err
	}
	for _, ip := range res.IPs {
		if gw, ok := netip.AddrFromSlice(ip.Gateway); ok {
			a.rec.Gateways = append(a.rec.Gateways, gw.Unmap())
		}
	}
	a.result = &current.Result{IPs: res.IPs, Routes: res.Routes, DNS: res.DNS}
	return a.claim()
}

// mustHaveFixed refuses a pod to which the IPAM plugin gave other addresses
// than its annotation asks for: not all plugins take the "ips" capability.
func (a *adding) mustHaveFixed() error {
	want, err := a.conf.fixedAddrs()
	if err != nil {
		return err
	}
	got := addrsOf(a.rec.Prefixes)
	for _, w := range want {
		if !slices.Contains(got, w) {
			return fail(types.ErrInvalidNetworkConfig, fmt.Sprintf(
				"the pod's annotation %s asks for %s and the IPAM plugin %s gave %s; ask that plugin in its own way, and remove the annotation",
				annotationIP, w, a.conf.IPAM.Type, got), nil)
		}
	}
	return nil
}

// claim makes the addresses this attachment's on the node.
func (a *adding) claim() error {
	for _, p := range a.rec.Prefixes {
		if err := a.dir.Claim(a.key, p.Addr(), a.conf.inProcess()); err != nil {
			return asCNI("claim the address", err)
		}
	}
	return nil
}

// releaseLocal frees rec's addresses of the in-process host-local, and
// remembers for its pod that it had them.
func (c *engine) releaseLocal(rec *state.Attachment) error {
	for _, p := range rec.Prefixes {
		c.dir.Unclaim(rec.Key, p.Addr())
	}
	dataDir := rec.IPAM.DataDir
	if dataDir == "" {
		dataDir = hostlocal.DefaultDataDir
	}
	store, err := hostlocal.OpenExisting(dataDir, rec.Network, lockWait)
	if store == nil || err != nil {
		return err
	}
	defer store.Close()
	freed, err := store.Release(hostlocal.Owner{ID: rec.ContainerID, IfName: rec.IfName})
	if err == nil && rec.IPAM.Sticky && len(freed) > 0 {
		_ = c.touchSticky(rec, time.Now()) // advice: a full disk must not keep the address
	}
	return err
}

// ipNet is p in the form of the CNI types.
func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// readResolvConf reads the DNS of a result from a resolv.conf(5).
func readResolvConf(path string) (types.DNS, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return types.DNS{}, err
	}
	return parseResolvConf(data), nil
}

func parseResolvConf(data []byte) types.DNS {
	var d types.DNS
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			d.Nameservers = append(d.Nameservers, f[1])
		case "domain":
			d.Domain = f[1]
		case "search":
			d.Search = append(d.Search, f[1:]...)
		case "options":
			d.Options = append(d.Options, f[1:]...)
		}
	}
	return d
}
