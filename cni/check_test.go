package cni_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// TestCheckFinds: whatever of an attachment is changed, CHECK says so.
func TestCheckFinds(t *testing.T) {
	lan := nettest.NewLAN(t)
	for _, c := range []struct {
		name, says string
		change     func(n *node, p *pod)
	}{
		{"nothing", "", func(*node, *pod) {}},
		{"interface", "no interface eth0", func(_ *node, p *pod) { must(p.Conn.Delete("eth0")) }},
		{"interface down", "is down", func(_ *node, p *pod) { must(p.Conn.LinkSetDown(p.Link("eth0"))) }},
		{"MAC", "has the MAC", func(_ *node, p *pod) {
			must(p.Conn.LinkSetHardwareAddr(p.Link("eth0"), net.HardwareAddr{2, 0, 0, 0, 0, 9}))
		}},
		{"address", "does not have the address", func(_ *node, p *pod) {
			a, _ := netlink.ParseAddr("10.9.0.2/24")
			must(p.Conn.AddrDel(p.Link("eth0"), a))
		}},
		{"route", "no route to 10.20.0.0/16", func(_ *node, p *pod) {
			must(p.Conn.RouteDel(&netlink.Route{Dst: &net.IPNet{IP: net.IP{10, 20, 0, 0}, Mask: net.CIDRMask(16, 32)}}))
		}},
		{"reservation", "no address is reserved", func(n *node, _ *pod) { must(os.Remove(filepath.Join(n.dir, "ipam/lan/10.9.0.2"))) }},
		{"shim", "no link ts-eth0", func(n *node, _ *pod) { must(n.Conn.Delete("ts-eth0")) }},
		{"node's route", "no route for 10.9.0.2", func(n *node, _ *pod) {
			must(n.Conn.RouteDel(&netlink.Route{LinkIndex: n.Link("ts-eth0").Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: net.IP{10, 9, 0, 2}, Mask: net.CIDRMask(32, 32)}}))
		}},
		{"node's neighbour", "no neighbour for 10.9.0.2", func(n *node, _ *pod) {
			must(n.Conn.NeighDel(&netlink.Neigh{LinkIndex: n.Link("ts-eth0").Attrs().Index, IP: net.IP{10, 9, 0, 2}}))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
			n.conf["ipam"].(map[string]any)["routes"] = []any{map[string]any{"dst": "10.20.0.0/16"}}
			conf := n.with("hostAccess", true)
			p := newPod(t, "c1")
			r := n.add(p, conf)
			c.change(n, p)
			_, err := n.call("CHECK", p, merge(conf, "prevResult", r))
			if c.says == "" {
				if err != nil {
					t.Errorf("CHECK: %v", err)
				}
				return
			}
			wantCode(t, err, 102)
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("CHECK does not say %q: %v", c.says, err)
			}
		})
	}
}

// TestLateDelAfterTheNamespaceDied: the old pod's address was given on while
// its record was still there.
func TestLateDelAfterTheNamespaceDied(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24 10.9.0.10-10.9.0.10"}, "10.9.0.200/24")
	conf := n.with("hostAccess", true)
	old, young := newPod(t, "old"), newPod(t, "young")
	n.add(old, conf)
	must(old.Conn.Delete("eth0"))
	must(os.Remove(filepath.Join(n.dir, "ipam/lan/10.9.0.10")))
	n.add(young, conf)
	young.Serve(t, ":80")
	n.del(old, conf)
	n.WantSeen(t, "10.9.0.10:80", "10.9.0.200")
	n.del(young, conf)
	wantNothingLeft(t, n, old, young)
}

// TestGCReservations: a reservation without a record goes if its container is
// not on the list, and stays if it is.
func TestGCReservations(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"})
	p := newPod(t, "c1")
	n.add(p, n.conf)
	n.del(p, n.conf)
	ghost := filepath.Join(n.dir, "ipam/lan/10.9.0.50")
	must(os.WriteFile(ghost, []byte("ghost\r\neth0"), 0o600))
	gc(t, n, n.conf, &pod{id: "ghost"})
	if len(reservations(t, n)) != 1 {
		t.Error("GC freed a valid attachment's address")
	}
	if _, err := n.call("GC", nil, n.conf); err != nil || len(reservations(t, n)) != 1 {
		t.Errorf("GC without a list freed an address, or failed: %v", err)
	}
	gc(t, n, n.conf, &pod{id: "other"})
	wantNoFiles(t, n)
}

// TestGCShim: what is left of host access goes with GC.
func TestGCShim(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	conf := n.with("hostAccess", true)
	p := newPod(t, "c1")
	n.add(p, conf)
	shim := n.Link("ts-eth0")
	if shim.Attrs().RawFlags&unix.IFF_NOARP == 0 {
		t.Error("the shim does ARP")
	}
	must(n.Conn.NeighSet(&netlink.Neigh{LinkIndex: shim.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IP{10, 9, 0, 77}, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}))
	must(n.Conn.RouteAdd(&netlink.Route{LinkIndex: shim.Attrs().Index, Scope: netlink.SCOPE_LINK, Protocol: 84, Dst: &net.IPNet{IP: net.IP{10, 9, 0, 78}, Mask: net.CIDRMask(32, 32)}}))
	gc(t, n, conf, p)
	routes, err := n.Conn.RouteList(shim, netlink.FAMILY_V4)
	if err != nil || len(routes) != 1 || !routes[0].Dst.IP.Equal(net.IP{10, 9, 0, 2}) {
		t.Errorf("routes: %v %v", routes, err)
	}
	if neighbourOn(t, n.Host, "ts-eth0", "10.9.0.77") != "" || neighbourOn(t, n.Host, "ts-eth0", "10.9.0.2") == "" {
		t.Error("GC left a leaked neighbour or took a living one")
	}
	must(os.RemoveAll(filepath.Join(n.dir, "run")))
	gc(t, n, conf)
	if n.Has("ts-eth0") {
		t.Error("GC left a shim that nobody uses")
	}
}
