package cni_test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/internal/nettest"
	"github.com/truesize/truesize/cni/link"
)

// TestMTU: the pod's follows the master's, whatever that is, unless set.
func TestMTU(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	for i, c := range []struct{ master, set, want int }{{1400, 0, 1400}, {9000, 0, 9000}, {9000, 1300, 1300}, {1400, 1400, 1400}} {
		must(n.Conn.LinkSetMTU(n.Link("eth0"), c.master))
		conf := n.with("mtu", c.set, "hostAccess", true)
		p := newPod(t, fmt.Sprintf("c%d", i))
		n.add(p, conf)
		if got := p.Link("eth0").Attrs().MTU; got != c.want {
			t.Errorf("master %d, mtu %d: the pod has %d", c.master, c.set, got)
		}
		if got := n.Link("ts-eth0").Attrs().MTU; got != c.master {
			t.Errorf("master %d: the node's way to the pod has %d", c.master, got)
		}
		n.del(p, conf)
	}
}

// TestBroadcastQueue: bcqueuelen is the kernel's, which keeps the largest of
// a master's macvlans.
func TestBroadcastQueue(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"})
	p := newPod(t, "c1")
	n.add(p, n.with("bcqueuelen", 4321))
	if got := p.Link("eth0").(*netlink.Macvlan).BCQueueLen; got != 4321 {
		t.Errorf("the interface asks for %d", got)
	}
}

// TestVersion: what a runtime chooses a result's form by.
func TestVersion(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", nil)
	out, err := n.call("VERSION", nil, map[string]any{"cniVersion": "1.1.0"})
	must(err)
	var v struct{ SupportedVersions []string }
	must(json.Unmarshal(out, &v))
	if strings.Join(v.SupportedVersions, " ") != "0.3.0 0.3.1 0.4.0 1.0.0 1.1.0" {
		t.Errorf("VERSION says %s", out)
	}
}

// TestAddressesThatChange: the kernel needs several messages to list a node's
// addresses, and says when they have changed between.
func TestAddressesThatChange(t *testing.T) {
	nettest.NeedRoot(t)
	h := nettest.NewHost(t, "node")
	for i := range 1000 {
		h.Addr("lo", fmt.Sprintf("10.96.%d.%d/32", i/250, i%250+1))
	}
	busy, err := link.Dial(h.NS)
	must(err)
	defer busy.Close()
	stop, done := make(chan struct{}), make(chan struct{})
	lo := h.Link("lo")
	go func() {
		defer close(done)
		a := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 97, 0, 1), Mask: net.CIDRMask(32, 32)}}
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				_ = busy.AddrReplace(lo, a)
				_ = busy.AddrDel(lo, a)
			}
		}
	}()
	for range 300 {
		list, err := h.Conn.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil || len(list) < 1000 {
			t.Errorf("%d addresses, %v", len(list), err)
			break
		}
	}
	close(stop)
	<-done
}
