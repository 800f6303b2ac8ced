package cni_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// TestConflict: a machine that nobody told the IPAM about has an address of
// the pool.
func TestConflict(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"}, "10.9.0.4/24")
	vm := lan.Host("vm", "10.9.0.2/24", "fd09::3/64")
	for _, how := range []string{"fast", "full"} {
		t.Run(how, func(t *testing.T) {
			if how == "full" && testing.Short() {
				t.Skip("the full schedule takes seconds")
			}
			fresh := merge(n.conf["ipam"].(map[string]any), "dataDir", t.TempDir())
			conf := n.with("conflictDetection", how, "stateDir", t.TempDir(), "ipam", fresh)
			p := newPod(t, "c-"+how)
			r := n.add(p, conf)
			for _, taken := range []string{"10.9.0.2", "fd09::3", "10.9.0.4"} {
				if ip(r, 0) == taken || ip(r, 1) == taken {
					t.Errorf("the pod got %s, which is taken", taken)
				}
			}
			vm.Serve(t, ":80")
			p.WantSeen(t, "10.9.0.2:80", ip(r, 0))
			n.del(p, conf)
			_, err := n.tryAdd(&pod{Host: p.Host, id: "d-" + how, args: "IP=10.9.0.2"}, conf)
			wantCode(t, err, 11) // remembered as another host's
			_, err = n.tryAdd(&pod{Host: p.Host, id: "d-" + how, args: "IP=10.9.0.2"}, merge(conf, "stateDir", t.TempDir()))
			wantCode(t, err, 100)
			if err != nil && !strings.Contains(err.Error(), vm.Link("eth0").Attrs().HardwareAddr.String()) {
				t.Errorf("the error does not say who has the address: %v", err)
			}
			wantNothingLeft(t, n, p)
		})
	}
}

// TestConflictOfPods: the nodes' ranges overlap. Two pods with one address have
// one MAC too.
func TestConflictOfPods(t *testing.T) {
	lan := nettest.NewLAN(t)
	for i, subnet := range []string{"10.9.0.0/24", "fd09::/64"} {
		for _, mode := range []string{"bridge", "private", "vepa"} {
			t.Run(subnet+" "+mode, func(t *testing.T) {
				n1, n2 := newNode(t, lan, "node1", []string{subnet}), newNode(t, lan, "node2", []string{subnet})
				conf := []any{"conflictDetection", "fast", "mode", mode}
				old, p := newPod(t, "c1"), newPod(t, "c2")
				first, second := n1.add(old, n1.with(conf...)), n2.add(p, n2.with(conf...))
				if ip(first, 0) == ip(second, 0) {
					t.Errorf("pods of two nodes got %s", ip(first, 0))
				}
				want := []string{"10.9.0.3", "fd09::3"}[i]
				n2.del(p, n2.conf)
				_, err := n2.tryAdd(&pod{Host: p.Host, id: "c3", args: "IP=" + ip(first, 0)}, merge(n2.with(conf...), "stateDir", t.TempDir()))
				wantCode(t, err, 100)
				if ip(second, 0) != want || err != nil && !strings.Contains(err.Error(), first.Interfaces[0].Mac) {
					t.Errorf("got %s, want %s; then %v", ip(second, 0), want, err)
				}
				n1.del(old, n1.conf)
			})
		}
	}
}

// TestConflictIsNotOneself: a switch that sends frames back where they came
// from shows a node its own questions.
func TestConflictIsNotOneself(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"})
	sw, port := lan.Port(1)
	must(sw.Conn.LinkSetHairpin(port, true))
	for _, mode := range []string{"bridge", "vepa"} {
		p := newPod(t, mode)
		n.add(p, n.with("conflictDetection", "fast", "mode", mode))
		n.del(p, n.conf)
	}
	if reserved := snapshot(t, n, reconcilerOf(n)); reserved.Conflicts != 0 {
		t.Errorf("%d conflicts were found", reserved.Conflicts)
	}
}

// TestStaleNeighbour: a machine remembers the MAC of an address's last
// holder; it must learn the new one at once, in both families.
func TestStaleNeighbour(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24 10.9.0.10-10.9.0.10", "fd09::/64 fd09::10-fd09::10"})
	vm := lan.Host("vm", "10.9.0.240/24", "fd09::f0/64")
	macs := map[string]bool{}
	for _, detect := range []string{"off", "fast"} {
		t.Run("detection "+detect, func(t *testing.T) {
			old, _ := net.ParseMAC("02:00:00:00:00:99")
			for _, a := range []string{"10.9.0.10", "fd09::10"} {
				err := vm.Conn.NeighSet(&netlink.Neigh{LinkIndex: vm.Link("eth0").Attrs().Index, State: netlink.NUD_STALE, IP: net.ParseIP(a), HardwareAddr: old})
				if err != nil {
					t.Fatal(err)
				}
			}
			conf := n.with("conflictDetection", detect)
			p := newPod(t, "c-"+detect)
			r := n.add(p, conf)
			for _, a := range []string{"10.9.0.10", "fd09::10"} {
				waitFor(t, "the machine learns the new MAC of "+a, func() bool {
					return neighbour(t, vm, a) == r.Interfaces[0].Mac
				})
			}
			macs[r.Interfaces[0].Mac] = true
			n.del(p, conf)
		})
	}
	if len(macs) != 1 {
		t.Errorf("one address after the other had the MACs %v", macs)
	}
}

// neighbour is the MAC that a host remembers for an address.
func neighbour(t *testing.T, h *nettest.Host, addr string) string {
	t.Helper()
	return neighbourOn(t, h, "eth0", addr)
}

func neighbourOn(t *testing.T, h *nettest.Host, link, addr string) string {
	t.Helper()
	list, err := h.Conn.NeighList(h.Link(link).Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.IP.Equal(net.ParseIP(addr)) {
			return e.HardwareAddr.String()
		}
	}
	return ""
}

// waitFor waits for an event that has no other sign.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// TestShimIsSilent: the network must never hear of the node's address at the
// shim's MAC, nor the node hear each broadcast twice.
func TestShimIsSilent(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"}, "10.9.0.200/24", "fd09::c8/64")
	vm := lan.Host("vm", "10.9.0.240/24", "fd09::f0/64")
	heard := listenFrames(t, vm)
	conf := n.with("hostAccess", true)
	p := newPod(t, "c1")
	r := n.add(p, conf)
	p.Serve(t, ":80")
	n.Serve(t, ":80")
	for range 3 {
		n.WantSeen(t, ip(r, 0)+":80", "10.9.0.200")
		p.WantSeen(t, "[fd09::c8]:80", ip(r, 1))
		vm.WantSeen(t, "10.9.0.200:80", "10.9.0.240")
		vm.WantSeen(t, ip(r, 0)+":80", "10.9.0.240")
	}
	shim := n.Link("ts-eth0").Attrs().HardwareAddr.String()
	atShim := listenFramesOn(t, n.Host, "ts-eth0")
	vm.Do(func() error {
		c, err := net.Dial("udp4", "10.9.0.255:9")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("a broadcast"))
		return err
	})
	// Traffic both ways once more: what was under way before it has arrived.
	n.WantSeen(t, ip(r, 0)+":80", "10.9.0.200")
	vm.WantSeen(t, "10.9.0.200:80", "10.9.0.240")
	for _, f := range heard() {
		if f.src == shim {
			t.Errorf("the network heard the shim: %+v", f)
		}
	}
	for _, f := range atShim() {
		if f.dst == "ff:ff:ff:ff:ff:ff" {
			t.Errorf("the shim got a broadcast: %+v", f)
		}
	}
	if got := neighbour(t, vm, "10.9.0.200"); got != n.Link("eth0").Attrs().HardwareAddr.String() {
		t.Errorf("the machine has the node at %s", got)
	}
	n.del(p, conf)
	wantNothingLeft(t, n, p)
}

// TestSecondNIC: the node's address is on another link than the pods' master.
func TestSecondNIC(t *testing.T) {
	lan, mgmt := nettest.NewLAN(t), nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"})
	mgmt.Join(n.Host, "mgmt0", "192.168.7.5/24")
	if err := n.Conn.RouteAdd(&netlink.Route{LinkIndex: n.Link("mgmt0").Attrs().Index, Gw: net.ParseIP("192.168.7.1")}); err != nil {
		t.Fatal(err)
	}
	conf := n.with("hostAccess", true)
	p := newPod(t, "c1")
	r := n.add(p, conf)
	p.Serve(t, ":80")
	n.Serve(t, ":80")
	n.WantSeen(t, ip(r, 0)+":80", "192.168.7.5")
	p.WantSeen(t, "192.168.7.5:80", ip(r, 0))
	n.del(p, conf)
	wantNothingLeft(t, n, p)
}
