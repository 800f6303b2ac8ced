package cni_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// A shipped is a conflist of deploy/cni on a node whose network is the one the
// file is written for: 192.0.2.0/24 and 2001:db8::/64, as in all of them.
type shipped struct {
	t    *testing.T
	n    *node
	vm   *nettest.Host
	cni  *libcni.CNIConfig
	list *libcni.NetworkConfigList
}

// ship loads the file as a runtime does. The test's directories come into it,
// and what change does to its ipam section.
func ship(t *testing.T, file string, change func(n *node, ipam map[string]any)) *shipped {
	t.Helper()
	lan := nettest.NewLAN(t)
	s := &shipped{t: t, n: newNode(t, lan, "node", nil, "192.0.2.10/24", "2001:db8::a/64"), vm: lan.Host("vm", "192.0.2.5/24", "2001:db8::5/64")}
	data, err := os.ReadFile(filepath.Join("../deploy/cni", file))
	must(err)
	var list map[string]any
	must(json.Unmarshal(data, &list))
	plugin := list["plugins"].([]any)[0].(map[string]any)
	plugin["runDir"], plugin["stateDir"] = s.n.conf["runDir"], s.n.conf["stateDir"]
	ipam, _ := plugin["ipam"].(map[string]any)
	if ipam != nil {
		ipam["dataDir"] = filepath.Join(s.n.dir, "ipam")
	}
	if change != nil {
		change(s.n, ipam)
	}
	data, err = json.Marshal(list)
	must(err)
	if s.list, err = libcni.ConfListFromBytes(data); err != nil {
		t.Fatal(err)
	}
	s.n.network = s.list.Name
	s.use(filepath.Dir(s.n.plugin))
	return s
}

// use makes the directories CNI_PATH.
func (s *shipped) use(path ...string) {
	s.cni = libcni.NewCNIConfigWithCacheDir(path, filepath.Join(s.n.dir, "cache"), nil)
}

// runtime is what a runtime says of the pod: its name, and all that it was
// asked for by capability.
func (s *shipped) runtime(p *pod, name string, caps map[string]any) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: p.id, NetNS: p.Path, IfName: "eth0", CapabilityArgs: caps,
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", name}}}
}

// tryAdd attaches the pod on the node.
func (s *shipped) tryAdd(rt *libcni.RuntimeConf) (r *current.Result, err error) {
	s.n.Do(func() error {
		res, aerr := s.cni.AddNetworkList(context.Background(), s.list, rt)
		if err = aerr; err == nil {
			r, err = current.NewResultFromResult(res)
		}
		return nil
	})
	return r, err
}

// add attaches the pod, with STATUS before it and CHECK after.
func (s *shipped) add(p *pod, name string, caps map[string]any) *current.Result {
	s.t.Helper()
	s.n.Do(func() error { return s.cni.GetStatusNetworkList(context.Background(), s.list) })
	rt := s.runtime(p, name, caps)
	r, err := s.tryAdd(rt)
	if err != nil {
		s.t.Fatalf("ADD: %v", err)
	}
	s.n.Do(func() error { return s.cni.CheckNetworkList(context.Background(), s.list, rt) })
	return r
}

// del detaches the pods, and collects garbage with nobody left.
func (s *shipped) del(pods ...*pod) {
	s.t.Helper()
	for _, p := range pods {
		s.n.Do(func() error {
			return s.cni.DelNetworkList(context.Background(), s.list, s.runtime(p, p.id, nil))
		})
	}
	s.n.Do(func() error {
		return s.cni.GCNetworkList(context.Background(), s.list, &libcni.GCArgs{})
	})
	wantNothingLeft(s.t, s.n, pods...)
}

// talk fails the test unless pod, node and machine reach each other at the
// result's addresses.
func (s *shipped) talk(p *pod, r *current.Result) {
	s.t.Helper()
	for _, h := range []*nettest.Host{p.Host, s.n.Host, s.vm} {
		h.Serve(s.t, ":80")
	}
	for i := range r.IPs {
		a, node, vm := ip(r, i), "192.0.2.10", "192.0.2.5"
		if strings.Contains(a, ":") {
			node, vm = "2001:db8::a", "2001:db8::5"
		}
		for _, c := range []struct {
			from     *nettest.Host
			self, to string
		}{{p.Host, a, node}, {p.Host, a, vm}, {s.n.Host, node, a}, {s.vm, vm, a}} {
			c.from.WantSeen(s.t, net.JoinHostPort(c.to, "80"), c.self)
		}
	}
}

// TestShippedNetworks attaches pods by the files of deploy/cni as they are, but
// for the test's directories.
func TestShippedNetworks(t *testing.T) {
	for _, c := range []struct {
		file string
		ips  int
	}{{"host-local.conflist", 1}, {"dual-stack.conflist", 2}, {"vepa.conflist", 1}} {
		t.Run(c.file, func(t *testing.T) {
			s := ship(t, c.file, nil)
			p := newPod(t, "c1")
			r := s.add(p, "web-0", map[string]any{
				"bandwidth": map[string]any{"ingressRate": 80e6, "ingressBurst": 8e6, "egressRate": 80e6, "egressBurst": 8e6},
				"io.kubernetes.cri.pod-annotations": map[string]string{
					"truesize.dev/ip": "192.0.2.40", "truesize.dev/mac": "02:00:00:00:00:40"},
			})
			if len(r.IPs) != c.ips || ip(r, 0) != "192.0.2.40" || p.Link("eth0").Attrs().HardwareAddr.String() != "02:00:00:00:00:40" {
				t.Errorf("result %v, MAC %s", r.IPs, p.Link("eth0").Attrs().HardwareAddr)
			}
			if len(r.Routes) != c.ips {
				t.Errorf("routes %v", r.Routes)
			}
			s.talk(p, r)
			s.del(p)
		})
	}
	t.Run("sticky.conflist", func(t *testing.T) {
		s := ship(t, "sticky.conflist", nil)
		p, other, q := newPod(t, "c1"), newPod(t, "c2"), newPod(t, "c3")
		r := s.add(p, "db-0", nil)
		s.talk(p, r)
		s.del(p)
		s.add(other, "web-0", nil)
		if again := s.add(q, "db-0", nil); ip(again, 0) != ip(r, 0) {
			t.Errorf("db-0 had %s and has %s", ip(r, 0), ip(again, 0))
		}
		s.del(other, q)
	})
	t.Run("layer2.conflist", func(t *testing.T) {
		s := ship(t, "layer2.conflist", nil)
		p := newPod(t, "c1")
		r := s.add(p, "web-0", nil)
		p.Serve(t, ":80")
		p.Addr("eth0", "192.0.2.77/24") // as something in the pod would
		s.vm.WantSeen(t, "192.0.2.77:80", "192.0.2.5")
		if len(r.IPs) != 0 {
			t.Errorf("addresses %v", r.IPs)
		}
		s.del(p)
	})
	t.Run("dhcp.conflist", func(t *testing.T) {
		dhcp := tool(t, "dhcp")
		s := ship(t, "dhcp.conflist", func(n *node, ipam map[string]any) { ipam["daemonSocketPath"] = startDHCPDaemon(t, n.Host, dhcp) })
		s.use(filepath.Dir(s.n.plugin), filepath.Dir(dhcp))
		serveDHCP(t, s.vm, "192.0.2.100,192.0.2.110")
		p := newPod(t, "c1")
		r := s.add(p, "web-0", nil)
		s.talk(p, r)
		s.del(p)
	})
	// whereabouts needs a cluster: one that answers as it does stands for it.
	t.Run("whereabouts.conflist", func(t *testing.T) {
		c := newCluster(t)
		as := strings.NewReplacer("10.9.0.", "192.0.2.", "fd09::", "2001:db8::").Replace(clusterIPAM)
		must(os.WriteFile(filepath.Join(c.dir, "whereabouts"), []byte(as), 0o755))
		s := ship(t, "whereabouts.conflist", nil)
		s.use(filepath.Dir(s.n.plugin), c.dir)
		p := newPod(t, "c1")
		r := s.add(p, "web-0", nil)
		s.talk(p, r)
		s.del(p)
		if stdin, err := os.ReadFile(filepath.Join(c.dir, "stdin.ADD")); err != nil || !strings.Contains(string(stdin), `"range_end":"192.0.2.250"`) {
			t.Errorf("whereabouts was given %s, %v", stdin, err)
		}
	})
}

// TestShippedVLAN is TestShippedNetworks for the file that needs 802.1Q.
// test/guest runs it on a kernel that has it.
func TestShippedVLAN(t *testing.T) {
	s := ship(t, "vlan.conflist", nil)
	p := newPod(t, "c1")
	if _, err := s.tryAdd(s.runtime(p, "web-0", nil)); err != nil {
		wantNoVLANs(t, err)
		s.del(p)
		return
	}
	s.del(p)
	// The machine's address is in the VLAN only.
	must(s.vm.Conn.AddrDel(s.vm.Link("eth0"), address("192.0.2.5/24")))
	must(s.vm.Conn.AddrDel(s.vm.Link("eth0"), address("2001:db8::5/64")))
	addVLAN(s.vm, 100, "192.0.2.5/24")
	s.talk(p, s.add(p, "web-0", nil))
	s.del(p)
	if s.n.Has("eth0.100") {
		t.Error("the VLAN stays without pods")
	}
}

func address(prefix string) *netlink.Addr {
	a, err := netlink.ParseAddr(prefix)
	must(err)
	return a
}
