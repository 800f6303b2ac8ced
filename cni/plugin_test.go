package cni_test

import (
	"testing"

	"github.com/truesize/truesize/cni/internal/nettest"
)

func TestAddCheckDel(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"}, "10.9.0.200/24", "fd09::c8/64")
	vm := lan.Host("vm", "10.9.0.201/24", "fd09::c9/64")
	conf := n.with("hostAccess", true)
	p := newPod(t, "c1")
	r := n.add(p, conf)
	t.Logf("%+v", r)
	vm.Serve(t, ":80")
	n.Serve(t, ":80")
	p.Serve(t, ":80")
	p.WantSeen(t, "10.9.0.201:80", ip(r, 0))
	p.WantSeen(t, "10.9.0.200:80", ip(r, 0))
	p.WantSeen(t, "[fd09::c8]:80", ip(r, 1))
	p.WantSeen(t, "[fd09::c9]:80", ip(r, 1))
	vm.WantSeen(t, ip(r, 0)+":80", "10.9.0.201")
	n.WantSeen(t, ip(r, 0)+":80", "10.9.0.200")
	n.WantSeen(t, "["+ip(r, 1)+"]:80", "fd09::c8")
	if _, err := n.call("CHECK", p, n.with("hostAccess", true, "prevResult", r)); err != nil {
		t.Error(err)
	}
	n.del(p, conf)
	n.del(p, conf)
	if p.Has("eth0") || n.Has("ts-eth0") {
		t.Error("DEL left a link")
	}
}
