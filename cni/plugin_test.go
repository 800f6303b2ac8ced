package cni_test

import (
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// TestEverybodyReachesEverybody is the point of it all: pods of two nodes,
// both nodes and a machine that knows nothing of Kubernetes, in both families,
// each seen by its own address.
func TestEverybodyReachesEverybody(t *testing.T) {
	lan := nettest.NewLAN(t)
	n1 := newNode(t, lan, "node1", []string{"10.9.0.0/24 10.9.0.10-10.9.0.19", "fd09::/64 fd09::10-fd09::1f"}, "10.9.0.201/24", "fd09::c9/64")
	n2 := newNode(t, lan, "node2", []string{"10.9.0.0/24 10.9.0.20-10.9.0.29", "fd09::/64 fd09::20-fd09::2f"}, "10.9.0.202/24", "fd09::ca/64")
	vm := lan.Host("vm", "10.9.0.240/24", "fd09::f0/64")
	type party struct {
		name   string
		host   *nettest.Host
		v4, v6 string
	}
	all := []party{
		{"node1", n1.Host, "10.9.0.201", "fd09::c9"},
		{"node2", n2.Host, "10.9.0.202", "fd09::ca"},
		{"vm", vm, "10.9.0.240", "fd09::f0"},
	}
	for _, at := range []struct {
		n  *node
		id string
	}{{n1, "a1"}, {n1, "b1"}, {n2, "a2"}} {
		p := newPod(t, at.id)
		r := at.n.add(p, at.n.with("hostAccess", true, "conflictDetection", "fast"))
		all = append(all, party{at.id, p.Host, ip(r, 0), ip(r, 1)})
	}
	for _, to := range all {
		to.host.Serve(t, ":80")
	}
	for _, from := range all {
		for _, to := range all {
			if from.name == to.name {
				continue
			}
			t.Run(from.name+"-"+to.name, func(t *testing.T) {
				from.host.WantSeen(t, to.v4+":80", from.v4)
				from.host.WantSeen(t, "["+to.v6+"]:80", from.v6)
			})
		}
	}
}

// TestResult holds the result against the reference plugin's own, field by
// field, for each version of the specification.
func TestResultIsTheReferences(t *testing.T) {
	ref := filepath.Dir(tool(t, "macvlan"))
	tool(t, "host-local")
	lan := nettest.NewLAN(t)
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			var results [2]map[string]any
			for i := range results {
				n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"})
				n.conf["ipam"].(map[string]any)["routes"] = []any{map[string]any{"dst": "0.0.0.0/0"}, map[string]any{"dst": "10.20.0.0/16", "gw": "10.9.0.7"}}
				n.conf["dns"] = map[string]any{"nameservers": []string{"10.9.0.53"}}
				n.conf["cniVersion"], n.conf["mac"], n.conf["mtu"] = version, "02:00:00:00:00:07", 1400
				if i == 1 {
					n.plugin, n.path = filepath.Join(ref, "macvlan"), ref
				}
				p := newPod(t, "c")
				out, err := n.call("ADD", p, n.conf)
				if err != nil {
					t.Fatal(err)
				}
				text := strings.ReplaceAll(string(out), p.Path, "/netns")
				if err := json.Unmarshal([]byte(text), &results[i]); err != nil {
					t.Fatal(err)
				}
				if mtu := p.Link("eth0").Attrs().MTU; mtu != 1400 {
					t.Errorf("MTU is %d", mtu)
				}
				n.del(p, n.conf)
			}
			ours, _ := json.Marshal(results[0])
			theirs, _ := json.Marshal(results[1])
			if string(ours) != string(theirs) {
				t.Errorf("ours\n%s\nreference\n%s", ours, theirs)
			}
		})
	}
}

func TestModes(t *testing.T) {
	lan := nettest.NewLAN(t)
	for mode, want := range map[string]netlink.MacvlanMode{
		"": netlink.MACVLAN_MODE_BRIDGE, "bridge": netlink.MACVLAN_MODE_BRIDGE, "private": netlink.MACVLAN_MODE_PRIVATE,
		"vepa": netlink.MACVLAN_MODE_VEPA, "passthru": netlink.MACVLAN_MODE_PASSTHRU,
	} {
		t.Run("mode="+mode, func(t *testing.T) {
			n := newNode(t, lan, "node", []string{"10.8.0.0/24"})
			lan.Join(n.Host, "up0")
			n.conf["master"] = "up0" // the node itself keeps eth0
			vm := lan.Host("vm", "10.8.0.240/24")
			n.Addr("eth0", "10.8.0.200/24")
			vm.Serve(t, ":80")
			n.Serve(t, ":80")
			conf := n.with("mode", mode, "hostAccess", true, "hostAddresses", []string{"10.8.0.200"}, "mtu", 1300)
			p := newPod(t, "c-"+mode+"x")
			master := n.Link("up0").Attrs().HardwareAddr.String()
			r := n.add(p, conf)
			p.Serve(t, ":80")
			if got := p.Link("eth0").(*netlink.Macvlan).Mode; got != want {
				t.Errorf("mode is %v, want %v", got, want)
			}
			if mode == "passthru" && r.Interfaces[0].Mac != master {
				t.Errorf("MAC is %s, want the master's %s", r.Interfaces[0].Mac, master)
			}
			p.WantSeen(t, "10.8.0.240:80", ip(r, 0))
			vm.WantSeen(t, ip(r, 0)+":80", "10.8.0.240")
			p.WantSeen(t, "10.8.0.200:80", ip(r, 0))
			n.WantSeen(t, ip(r, 0)+":80", "10.8.0.200")
			if _, err := n.call("CHECK", p, merge(conf, "prevResult", r)); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			n.del(p, conf)
			wantNothingLeft(t, n, p)
		})
	}
}

func merge(conf map[string]any, kv ...any) map[string]any {
	return (&node{conf: conf}).with(kv...)
}

// wantNothingLeft fails the test if a detached pod or its node keeps a link,
// a route, a neighbour or a file.
func wantNothingLeft(t *testing.T, n *node, pods ...*pod) {
	t.Helper()
	for _, h := range append([]*nettest.Host{n.Host}, hosts(pods)...) {
		links, err := h.Conn.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			name := l.Attrs().Name
			if strings.HasPrefix(name, "ts") || l.Type() == "macvlan" || l.Type() == "ifb" {
				t.Errorf("a link is left: %s in %s", name, h.Path)
			}
		}
	}
	routes, err := n.Conn.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: 84}, netlink.RT_FILTER_PROTOCOL)
	if err != nil || len(routes) > 0 {
		t.Errorf("routes are left: %v %v", routes, err)
	}
	wantNoFiles(t, n)
}

func hosts(pods []*pod) []*nettest.Host {
	var hs []*nettest.Host
	for _, p := range pods {
		hs = append(hs, p.Host)
	}
	return hs
}

// wantNoFiles fails the test if the plugin remembers an attachment or an
// address.
func wantNoFiles(t *testing.T, n *node) {
	t.Helper()
	for _, dir := range []string{"run/attachments", "run/addresses", "run/locks/" + n.network, "run/links", "state/leases"} {
		_ = filepath.WalkDir(filepath.Join(n.dir, dir), func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				t.Errorf("a file is left: %s", path)
			}
			return nil
		})
	}
	for _, a := range reservations(t, n) {
		t.Errorf("an address is left: %s", a)
	}
}

// reservations lists the reserved addresses of the node's pools.
func reservations(t testing.TB, n *node) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.dir, "ipam", n.network))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if _, err := netip.ParseAddr(e.Name()); err == nil {
			list = append(list, e.Name())
		}
	}
	return list
}

func TestLayer2Only(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", nil)
	p := newPod(t, "c1").named("default", "web-0")
	r := n.add(p, n.conf)
	if len(r.IPs) != 0 || p.Link("eth0").Attrs().Flags&net.FlagUp == 0 {
		t.Errorf("result %v, link %v", r, p.Link("eth0").Attrs().Flags)
	}
	// The next pod of the name is the same host to the network.
	n.del(p, n.conf)
	q := newPod(t, "c2").named("default", "web-0")
	if again := n.add(q, n.conf); again.Interfaces[0].Mac != r.Interfaces[0].Mac {
		t.Errorf("MAC was %s and is %s", r.Interfaces[0].Mac, again.Interfaces[0].Mac)
	}
	n.del(q, n.conf)
	wantNothingLeft(t, n, p, q)
}

func TestLinkInContainer(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"})
	vm := lan.Host("vm", "10.9.0.240/24")
	vm.Serve(t, ":80")
	p := newPod(t, "c1")
	lan.Join(p.Host, "up0")
	conf := n.with("linkInContainer", true, "master", "up0")
	r := n.add(p, conf)
	p.WantSeen(t, "10.9.0.240:80", ip(r, 0))
	if _, err := n.call("CHECK", p, merge(conf, "prevResult", r)); err != nil {
		t.Error(err)
	}
	n.del(p, conf)
	wantNothingLeft(t, n, p)
}

// TestChain runs the plugin behind another that has made an interface.
func TestChain(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"})
	p := newPod(t, "c1")
	prev := map[string]any{
		"cniVersion": "1.1.0",
		"interfaces": []any{map[string]any{"name": "net0", "mac": "02:00:00:00:00:01", "sandbox": p.Path}},
		"ips":        []any{map[string]any{"address": "192.168.0.5/24", "interface": 0}},
		"routes":     []any{map[string]any{"dst": "192.168.0.0/16"}},
		"dns":        map[string]any{"nameservers": []string{"192.168.0.1"}},
	}
	r := n.add(p, n.with("prevResult", prev))
	if len(r.Interfaces) != 2 || len(r.IPs) != 2 || *r.IPs[1].Interface != 1 || len(r.Routes) != 1 || len(r.DNS.Nameservers) != 1 {
		out, _ := json.Marshal(r)
		t.Errorf("result %s", out)
	}
	n.del(p, n.conf)
}

func TestWhoseMACAndAddress(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"})
	outer := t // the pods live on after their subtests
	notes := func(kv ...any) map[string]any {
		return map[string]any{"io.kubernetes.cri.pod-annotations": merge(nil, kv...)}
	}
	for _, c := range []struct {
		name, args string
		conf       map[string]any
		mac, ip    string
	}{
		{"derived", "", n.conf, "56:54:0a:09:00:02", "10.9.0.2"},
		{"configuration", "", n.with("mac", "02:00:00:00:00:01"), "02:00:00:00:00:01", "10.9.0.3"},
		{"CNI_ARGS over it", "IgnoreUnknown=1;MAC=02:00:00:00:00:02;IP=10.9.0.50;X=y", n.with("mac", "02:00:00:00:00:01"), "02:00:00:00:00:02", "10.9.0.50"},
		{"capabilities", "", n.with("runtimeConfig", map[string]any{"mac": "02:00:00:00:00:03", "ips": []string{"10.9.0.60/24"}}), "02:00:00:00:00:03", "10.9.0.60"},
		{"annotations", "", n.with("runtimeConfig", notes("truesize.dev/ip", "10.9.0.70", "truesize.dev/mac", "02:00:00:00:00:04")), "02:00:00:00:00:04", "10.9.0.70"},
		{"MAC with the requested address", "", n.with("runtimeConfig", notes("truesize.dev/ip", " 10.9.0.80 ")), "56:54:0a:09:00:50", "10.9.0.80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPod(outer, strings.ReplaceAll(c.name, " ", "-"))
			p.args = c.args
			r := n.add(p, c.conf)
			if r.Interfaces[0].Mac != c.mac || ip(r, 0) != c.ip || p.Link("eth0").Attrs().HardwareAddr.String() != c.mac {
				t.Errorf("got %s %s, want %s %s", r.Interfaces[0].Mac, ip(r, 0), c.mac, c.ip)
			}
		})
	}
	// What somebody has cannot be given again.
	p := newPod(t, "second")
	_, err := n.tryAdd(p, n.with("runtimeConfig", notes("truesize.dev/ip", "10.9.0.70")))
	wantCode(t, err, types.ErrTryAgainLater)
	_, err = n.tryAdd(p, n.with("mac", "02:00:00:00:00:04"))
	wantCode(t, err, 101)
	if !strings.Contains(err.Error(), "02:00:00:00:00:04 is in use by another link on eth0") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
	if p.Has("eth0") {
		t.Error("a failed ADD left the link")
	}
}

func TestErrors(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/30"})
	p := newPod(t, "c1")
	bad := newPod(t, "c2")
	bad.Path += "-missing"
	ipam := func(kv ...any) map[string]any { return n.with("ipam", merge(n.conf["ipam"].(map[string]any), kv...)) }
	for _, c := range []struct {
		name string
		p    *pod
		conf any
		args string
		code uint
		says string
	}{
		{"mode", p, n.with("mode", "bridged"), "", 7, "bridge, private, vepa or passthru"},
		{"no master", p, n.with("master", "eth9"), "", 7, `correct "master"`},
		{"no default route", p, n.with("master", nil), "", 7, "no default route"},
		{"MTU", p, n.with("mtu", 9000), "", 7, "has 1500"},
		{"MAC", p, n.with("mac", "02:00"), "", 7, "02:00:00:00:00:01"},
		{"group MAC", p, n.with("mac", "01:00:00:00:00:01"), "", 7, "group address"},
		{"no MAC", p, n.with("mac", "00:00:00:00:00:00"), "", 7, "nobody's"},
		{"CNI_ARGS", p, n.conf, "A=b", types.ErrInvalidEnvironmentVariables, "unknown args"},
		{"host access in the container", p, n.with("hostAccess", true, "linkInContainer", true), "", 7, "linkInContainer"},
		{"host access without an address", p, n.with("hostAccess", true), "", 7, "hostAddresses"},
		{"host access with another's address", p, n.with("hostAccess", true, "hostAddresses", []string{"10.9.0.9"}), "", types.ErrInternal, "10.9.0.9 is not an address of the node"},
		{"hostAccess", p, n.with("hostAccess", "on"), "", 7, `true, false or "veth"`},
		{"IPAM plugin", p, ipam("type", "no-such-ipam"), "", 7, "CNI_PATH"},
		{"IPAM plugin's name", p, ipam("type", "../macvlan"), "", 7, "not a plugin's name"},
		{"range", p, ipam("ranges", []any{}), "", 7, "ipam.ranges"},
		{"address out of range", p, n.conf, "IP=10.9.9.9", 7, "none of the ranges"},
		{"the gateway's address", p, n.conf, "IP=10.9.0.1", 7, "gateway"},
		{"no namespace", bad, n.conf, "", types.ErrUnknownContainer, "no such network namespace"},
		{"VLAN", p, n.with("vlan", 4095), "", 7, "1 to 4094"},
		{"sticky", p, n.with("sticky", "one day"), "", 7, "24h"},
		{"conflict detection", p, n.with("conflictDetection", "yes"), "", 7, "off, fast, full"},
		{"bandwidth", p, n.with("runtimeConfig", map[string]any{"bandwidth": map[string]any{"ingressRate": 1000}}), "", 7, "go together"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.p.args = c.args
			_, err := n.call("ADD", c.p, c.conf)
			wantCode(t, err, c.code)
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error does not say %q: %v", c.says, err)
			}
			if p.Has("eth0") {
				t.Error("a failed ADD left the link")
			}
		})
	}
	p.args = ""
	wantNothingLeft(t, n, p)
	n.add(p, n.conf)
	_, err := n.tryAdd(p, n.conf)
	wantCode(t, err, 103)
	_, err = n.tryAdd(newPod(t, "c3"), n.conf)
	wantCode(t, err, types.ErrTryAgainLater)
	_, err = n.call("STATUS", nil, n.conf)
	wantCode(t, err, types.ErrPluginNotAvailable)
	n.del(p, n.conf)
	if _, err := n.call("STATUS", nil, n.conf); err != nil {
		t.Errorf("STATUS: %v", err)
	}
	if err := n.Conn.LinkSetDown(n.Link("eth0")); err != nil {
		t.Fatal(err)
	}
	_, err = n.call("STATUS", nil, n.conf)
	wantCode(t, err, types.ErrPluginNotAvailable)
	if !strings.Contains(err.Error(), "set it up") {
		t.Errorf("STATUS does not say that the master is down: %v", err)
	}
	_, err = n.call("STATUS", nil, n.with("master", "eth9"))
	wantCode(t, err, types.ErrPluginNotAvailable)
}

// TestUsableAtOnce: no address waits for the kernel's duplicate detection.
func TestUsableAtOnce(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"})
	p := newPod(t, "c1")
	r := n.add(p, n.conf)
	list, err := p.Conn.AddrList(p.Link("eth0"), netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.IP.String() == ip(r, 1) && a.Flags&unix.IFA_F_TENTATIVE != 0 {
			t.Errorf("%s is tentative when ADD returns", a.IP)
		}
	}
}

// TestDelOfWhatAddRefuses: a runtime calls DEL after an ADD that failed, with
// the same configuration, and again until it succeeds.
func TestDelOfWhatAddRefuses(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"})
	notes := func(key, value string) map[string]any {
		return n.with("runtimeConfig", map[string]any{"io.kubernetes.cri.pod-annotations": map[string]string{key: value}})
	}
	for name, c := range map[string]struct {
		conf map[string]any
		args string
	}{
		"MAC of the pod":     {notes("truesize.dev/mac", "nonsense"), ""},
		"address of the pod": {notes("truesize.dev/ip", "nonsense"), ""},
		"bandwidth":          {n.with("runtimeConfig", map[string]any{"bandwidth": map[string]any{"egressRate": 1}}), ""},
		"mode":               {n.with("mode", "bridged"), ""},
		"prevResult":         {n.with("prevResult", map[string]any{"ips": 1}), ""},
		"CNI_ARGS":           {n.conf, "A=b"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t, "c1")
			n.add(p, n.conf)
			refused := newPod(t, "c2")
			refused.args = c.args
			if _, err := n.tryAdd(refused, c.conf); err == nil {
				t.Error("ADD succeeded")
			}
			n.del(refused, c.conf)
			p.args = c.args
			n.del(p, c.conf) // attached before the configuration was spoilt
			wantNothingLeft(t, n, p, refused)
		})
	}
}

// TestForeignShim: a link of somebody else has the shim's name. It is named in
// the error, and stays.
func TestForeignShim(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	must(n.Conn.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "ts-eth0"}}))
	p := newPod(t, "c1")
	conf := n.with("hostAccess", true)
	if _, err := n.tryAdd(p, conf); err == nil || !strings.Contains(err.Error(), "ts-eth0 is not a macvlan on eth0") {
		t.Errorf("got %v", err)
	}
	n.del(p, conf)
	if !n.Has("ts-eth0") {
		t.Fatal("the link was removed")
	}
	must(n.Conn.Delete("ts-eth0"))
	wantNothingLeft(t, n, p)
}
