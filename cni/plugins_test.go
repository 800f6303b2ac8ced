package cni_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// TestDHCP takes the pod's address from a real DHCP server of the network,
// by the reference dhcp plugin and its daemon.
func TestDHCP(t *testing.T) {
	dhcp := tool(t, "dhcp")
	lan := nettest.NewLAN(t)
	server := lan.Host("dhcp", "10.9.0.1/24")
	serveDHCP(t, server, "10.9.0.100,10.9.0.110")

	n := newNode(t, lan, "node", nil, "10.9.0.200/24")
	n.path = filepath.Dir(dhcp)
	socket := startDHCPDaemon(t, n.Host, dhcp)
	conf := n.with("ipam", map[string]any{"type": "dhcp", "daemonSocketPath": socket}, "hostAccess", true)
	p := newPod(t, "c1").named("default", "db-0")
	r := n.add(p, conf)
	if !strings.HasPrefix(ip(r, 0), "10.9.0.1") {
		t.Errorf("got %s", ip(r, 0))
	}
	p.Serve(t, ":80")
	n.WantSeen(t, ip(r, 0)+":80", "10.9.0.200")
	server.WantSeen(t, ip(r, 0)+":80", "10.9.0.1")
	if _, err := n.call("CHECK", p, merge(conf, "prevResult", r)); err != nil {
		t.Error(err)
	}
	n.del(p, conf)
	wantNothingLeft(t, n, p)
	// The next pod of the name has the same MAC, so it gets the same lease.
	q := newPod(t, "c2").named("default", "db-0")
	if again := n.add(q, conf); again.Interfaces[0].Mac != r.Interfaces[0].Mac {
		t.Errorf("MAC was %s and is %s", r.Interfaces[0].Mac, again.Interfaces[0].Mac)
	}
	n.del(q, conf)
}

// serveDHCP gives the host a DHCP server for a range of addresses, "first,last".
func serveDHCP(t *testing.T, h *nettest.Host, span string) {
	t.Helper()
	dnsmasq, err := exec.LookPath("dnsmasq")
	if err != nil {
		t.Fatalf("this test needs dnsmasq: install the packages of test/packages.txt (%v)", err)
	}
	dir := t.TempDir()
	background(t, h, exec.Command(dnsmasq, "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces",
		"--dhcp-range="+span+",255.255.255.0,2m", "--dhcp-leasefile="+filepath.Join(dir, "leases"), "--no-ping", "--user=root", "--pid-file="+filepath.Join(dir, "pid")))
	waitFor(t, "the DHCP server starts", func() bool { _, err := os.Stat(filepath.Join(dir, "pid")); return err == nil })
}

// startDHCPDaemon starts the dhcp plugin's daemon and returns its socket.
func startDHCPDaemon(t *testing.T, h *nettest.Host, dhcp string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "dhcp.sock")
	background(t, h, exec.Command(dhcp, "daemon", "-socketpath", socket))
	waitFor(t, "the dhcp daemon starts", func() bool { c, err := net.Dial("unix", socket); return err == nil && c.Close() == nil })
	return socket
}

// background runs cmd on the host until the test ends.
func background(t *testing.T, h *nettest.Host, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", cmd.Path, out.String())
		}
	})
}

// TestStaticIPAM: addresses by the reference static plugin, moved to the MAC
// that goes with them; a failing IPAM leaves nothing.
func TestStaticIPAM(t *testing.T) {
	static := tool(t, "static")
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", nil, "10.9.0.200/24")
	n.path = filepath.Dir(static)
	conf := n.with("hostAccess", true, "conflictDetection", "fast", "ipam", map[string]any{"type": "static",
		"addresses": []any{map[string]any{"address": "10.9.0.77/24", "gateway": "10.9.0.1"}}, "routes": []any{map[string]any{"dst": "0.0.0.0/0"}}})
	p := newPod(t, "c1")
	r := n.add(p, conf)
	if r.Interfaces[0].Mac != "56:54:0a:09:00:4d" || ip(r, 0) != "10.9.0.77" {
		t.Errorf("result %+v", r.Interfaces[0])
	}
	if _, err := n.call("STATUS", nil, conf); err != nil {
		t.Errorf("STATUS: %v", err)
	}
	// The same address twice on a node is a mistake in the configuration.
	q := newPod(t, "c2")
	_, err := n.tryAdd(q, conf)
	wantCode(t, err, 11)
	n.del(p, conf)
	lan.Host("vm", "10.9.0.77/24")
	_, err = n.tryAdd(q, conf)
	wantCode(t, err, 100)
	_, err = n.tryAdd(q, merge(conf, "ipam", map[string]any{"type": "static", "addresses": []any{map[string]any{"address": "nonsense"}}}))
	if err == nil || !strings.Contains(err.Error(), "IPAM plugin static") {
		t.Errorf("the error does not name the IPAM plugin: %v", err)
	}
	wantNothingLeft(t, n, p, q)
}

// TestConflist runs every verb by cnitool, with the tuning and sbr plugins
// behind ours, as a runtime would.
func TestConflist(t *testing.T) {
	cnitool := tool(t, "cnitool")
	tools := filepath.Dir(tool(t, "tuning"))
	tool(t, "sbr")
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	vm := lan.Host("vm", "10.9.0.240/24")
	first := n.with("hostAccess", true, "conflictDetection", "fast", "ipam",
		merge(n.conf["ipam"].(map[string]any), "routes", []any{map[string]any{"dst": "0.0.0.0/0"}}))
	delete(first, "cniVersion")
	delete(first, "name")
	// cnitool keeps its cache in one place for all; the name is ours alone.
	n.network = fmt.Sprintf("ts-cni-%d", os.Getpid())
	list := map[string]any{"cniVersion": "1.1.0", "name": n.network, "plugins": []any{first,
		map[string]any{"type": "tuning", "sysctl": map[string]any{"net.ipv4.conf.IFNAME.arp_announce": "2"}, "mac": "02:00:00:00:00:33"},
		map[string]any{"type": "sbr"}}}
	data, _ := json.Marshal(list)
	confDir := t.TempDir()
	must(os.WriteFile(filepath.Join(confDir, "10-lan.conflist"), data, 0o600))
	p := newPod(t, "unused")
	run := func(verb string) ([]byte, error) {
		cmd := exec.Command(cnitool, verb, n.network, p.Path)
		cmd.Env = append(os.Environ(), "NETCONFPATH="+confDir, "CNI_PATH="+filepath.Dir(n.plugin)+":"+tools)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := n.Run(cmd)
		return out.Bytes(), err
	}
	t.Cleanup(func() { _, _ = run("del") })
	for _, verb := range []string{"status", "add", "check"} {
		if out, err := run(verb); err != nil {
			t.Fatalf("cnitool %s: %v: %s", verb, err, out)
		}
	}
	if mac := p.Link("eth0").Attrs().HardwareAddr.String(); mac != "02:00:00:00:00:33" {
		t.Errorf("tuning's MAC is not there: %s", mac)
	}
	p.Do(func() error {
		v, err := os.ReadFile("/proc/sys/net/ipv4/conf/eth0/arp_announce")
		if string(v) != "2\n" {
			t.Errorf("tuning's sysctl is %q", v)
		}
		return err
	})
	rules, err := p.Conn.RuleList(netlink.FAMILY_V4)
	must(err)
	if !slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Src != nil && r.Src.IP.String() == "10.9.0.2" }) {
		t.Errorf("sbr's rule is not there: %v", rules)
	}
	p.Serve(t, ":80")
	vm.WantSeen(t, "10.9.0.2:80", "10.9.0.240")
	for _, verb := range []string{"del", "gc", "del"} {
		if out, err := run(verb); err != nil {
			t.Fatalf("cnitool %s: %v: %s", verb, err, out)
		}
	}
	wantNothingLeft(t, n, p)
}

// TestBandwidthBehind: the reference bandwidth plugin, behind ours in a list
// that was made for another plugin, passes pods without limits through.
func TestBandwidthBehind(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	behind := *n
	behind.plugin = tool(t, "bandwidth")
	conf := n.with("hostAccess", true)
	p := newPod(t, "c1")
	r := n.add(p, conf)
	after := behind.add(p, map[string]any{"cniVersion": "1.1.0", "name": "lan", "type": "bandwidth", "prevResult": r})
	if !reflect.DeepEqual(after, r) {
		t.Errorf("the result was %v and is %v", r, after)
	}
	behind.del(p, map[string]any{"cniVersion": "1.1.0", "name": "lan", "type": "bandwidth", "prevResult": r})
	n.del(p, conf)
	wantNothingLeft(t, n, p)
}

// TestBandwidth shapes both directions and looks at what comes through.
func TestBandwidth(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	vm := lan.Host("vm", "10.9.0.240/24")
	const rate = 40e6 // bit/s
	conf := n.with("hostAccess", true, "runtimeConfig", map[string]any{"bandwidth": map[string]any{
		"ingressRate": rate, "ingressBurst": 800000, "egressRate": rate, "egressBurst": 800000}})
	p := newPod(t, "c1")
	r := n.add(p, conf)
	qdiscs, err := p.Conn.QdiscList(p.Link("eth0"))
	if err != nil {
		t.Fatal(err)
	}
	kinds := ""
	for _, q := range qdiscs {
		kinds += q.Type() + " "
	}
	if !strings.Contains(kinds, "tbf") || !strings.Contains(kinds, "ingress") {
		t.Errorf("queues: %s", kinds)
	}
	for _, d := range []struct {
		name     string
		from, to *nettest.Host
		addr     string
	}{{"egress", p.Host, vm, "10.9.0.240:9"}, {"ingress", vm, p.Host, ip(r, 0) + ":9"}} {
		got := throughput(t, d.from, d.to, d.addr, 4<<20)
		// An unshaped veth does thousands of times this; so much above the
		// rate means that nothing shapes.
		if got > 1.5*rate {
			t.Errorf("%s passes %.0f Mbit/s, the limit is %.0f", d.name, got/1e6, rate/1e6)
		}
	}
	n.del(p, conf)
	wantNothingLeft(t, n, p)
	// The namespace of the pod lives: neither its ifb nor a queue may be left.
	left, err := p.Conn.QdiscList(nil)
	must(err)
	for _, q := range left {
		if q.Type() != "noqueue" {
			t.Errorf("a queue is left: %v", q)
		}
	}
}

// throughput sends size bytes and returns bits per second at the receiver.
func throughput(t *testing.T, from, to *nettest.Host, addr string, size int64) float64 {
	t.Helper()
	var l net.Listener
	to.Do(func() (err error) { l, err = net.Listen("tcp", addr); return err })
	defer l.Close()
	type got struct {
		n int64
		d time.Duration
	}
	done := make(chan got, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- got{}
			return
		}
		start := time.Now()
		n, _ := io.Copy(io.Discard, c)
		done <- got{n, time.Since(start)}
	}()
	var c net.Conn
	from.Do(func() (err error) { c, err = net.Dial("tcp", addr); return err })
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	g := <-done
	if g.n != size {
		t.Fatalf("received %d of %d bytes", g.n, size)
	}
	return float64(g.n) * 8 / g.d.Seconds()
}

// TestVLAN: a kernel without 802.1Q gives an error that says so; a
// kernel with it gives the VLAN. test/guest runs it on such a one.
func TestVLAN(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	conf := n.with("vlan", 100, "hostAccess", true)
	p, q := newPod(t, "c1"), newPod(t, "c2")
	if _, err := n.tryAdd(p, conf); err != nil {
		wantNoVLANs(t, err)
		wantNothingLeft(t, n, p)
		return
	}
	vm := lan.Host("vm")
	addVLAN(vm, 100, "10.9.0.240/24")
	vm.Serve(t, ":80")
	n.Serve(t, ":80")
	n.add(q, conf)
	for _, pod := range []*pod{p, q} {
		pod.WantSeen(t, "10.9.0.240:80", pod.addr(t))
		pod.WantSeen(t, "10.9.0.200:80", pod.addr(t))
	}
	n.del(p, conf)
	if !n.Has("eth0.100") {
		t.Error("the VLAN went with the first of two pods")
	}
	n.del(q, conf)
	if n.Has("eth0.100") {
		t.Error("the VLAN stays without pods")
	}
	wantNothingLeft(t, n, p, q)
}

// wantNoVLANs fails the test unless err is that of a kernel without 802.1Q, and
// on a kernel known to have it.
func wantNoVLANs(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("TRUESIZE_GUEST") != "" {
		t.Fatalf("on a kernel that has 802.1Q: %v", err)
	}
	wantCode(t, err, 7)
	if !strings.Contains(err.Error(), "8021q") {
		t.Errorf("the error does not name the module: %v", err)
	}
	t.Logf("this kernel has no 802.1Q: %v", err)
}

// addVLAN gives the host a VLAN of its eth0, with an address.
func addVLAN(h *nettest.Host, id int, prefix string) {
	name := fmt.Sprintf("eth0.%d", id)
	must(h.Conn.LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: h.Link("eth0").Attrs().Index}, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}))
	must(h.Conn.Up(h.Link(name)))
	h.Addr(name, prefix)
}

// addr is the pod's IPv4 address.
func (p *pod) addr(t *testing.T) string {
	t.Helper()
	list, err := p.Conn.AddrList(p.Link("eth0"), netlink.FAMILY_V4)
	if err != nil || len(list) == 0 {
		t.Fatalf("the pod has no address: %v", err)
	}
	return list[0].IP.String()
}
