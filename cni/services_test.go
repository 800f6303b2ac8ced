package cni_test

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// nft loads rules in the host's namespace.
func nft(t *testing.T, h *nettest.Host, rules string) {
	t.Helper()
	prog, err := exec.LookPath("nft")
	if err != nil {
		t.Fatalf("this test needs nft: install the packages of test/packages.txt (%v)", err)
	}
	cmd := exec.Command(prog, "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.Run(cmd); err != nil {
		t.Fatalf("nft: %v: %s", err, out.String())
	}
}

// A service is what kube-proxy would be told.
type service struct {
	family, cluster, node, backend string // addresses; backend with port
	nodePort                       int
}

// proxy gives the node the rules of kube-proxy with masqueradeAll for one
// Service: ClusterIP and NodePort, from pods, from the node, from outside.
func (s service) proxy() string {
	daddr := s.family + " daddr"
	return fmt.Sprintf(`
table %[1]s kube {
  chain services {
    %[2]s %[3]s tcp dport 80 meta mark set meta mark or 0x4000 dnat to %[4]s
    %[2]s %[5]s tcp dport %[6]d meta mark set meta mark or 0x4000 dnat to %[4]s
  }
  chain prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain output { type nat hook output priority -100; jump services; }
  chain postrouting { type nat hook postrouting priority srcnat; meta mark & 0x4000 == 0x4000 masquerade; }
}`, s.family, daddr, s.cluster, s.backend, s.node, s.nodePort)
}

// TestServices: ClusterIP and NodePort by real DNAT on the node, from pods,
// the node and machines of the network; to a backend on the same node, on
// another one, and on a machine.
func TestServices(t *testing.T) {
	lan := nettest.NewLAN(t)
	for _, access := range []any{true, "veth"} {
		t.Run(fmt.Sprint(access), func(t *testing.T) {
			number := map[any]string{true: "1", "veth": "2"}[access]
			v4, v6 := "10."+number+".0.", "fd0"+number+"::"
			n := newNode(t, lan, "node1", []string{v4 + "0/24 " + v4 + "10-" + v4 + "19", v6 + "/64 " + v6 + "10-" + v6 + "1f"}, v4+"201/24", v6+"c9/64")
			n2 := newNode(t, lan, "node2", []string{v4 + "0/24 " + v4 + "20-" + v4 + "29", v6 + "/64 " + v6 + "20-" + v6 + "2f"}, v4+"202/24", v6+"ca/64")
			vm := lan.Host("vm", v4+"240/24", v6+"f0/64")
			n.Sysctl("ipv4/ip_forward", "1")
			n.Sysctl("ipv6/conf/all/forwarding", "1")
			for _, gw := range []string{v4 + "254", v6 + "fe"} { // as a node has; the output hook comes after routing
				must(n.Conn.RouteAdd(&netlink.Route{LinkIndex: n.Link("eth0").Attrs().Index, Gw: net.ParseIP(gw)}))
			}
			conf := n.with("hostAccess", access, "serviceCIDRs", []string{"10.96.0.0/12", "fd96::/112"})
			client, local, remote := newPod(t, "client"), newPod(t, "local"), newPod(t, "remote")
			n.add(client, conf)
			rl := n.add(local, conf)
			rr := n2.add(remote, merge(n2.conf, "hostAccess", access))
			for _, h := range []*nettest.Host{local.Host, remote.Host, vm} {
				h.Serve(t, ":8080")
			}
			for _, s := range []service{
				{"ip", "10.96.0.1", v4 + "201", ip(rl, 0) + ":8080", 30001},
				{"ip", "10.96.0.2", v4 + "201", ip(rr, 0) + ":8080", 30002},
				{"ip", "10.96.0.3", v4 + "201", v4 + "240:8080", 30003},
				{"ip6", "fd96::1", v6 + "c9", "[" + ip(rl, 1) + "]:8080", 30001},
				{"ip6", "fd96::2", v6 + "c9", "[" + ip(rr, 1) + "]:8080", 30002},
				{"ip6", "fd96::3", v6 + "c9", "[" + v6 + "f0]:8080", 30003},
			} {
				nft(t, n.Host, s.proxy())
				bracket := func(a string) string {
					if s.family == "ip6" {
						return "[" + a + "]"
					}
					return a
				}
				for _, from := range []struct {
					name string
					h    *nettest.Host
					addr string
				}{
					{"pod by ClusterIP", client.Host, bracket(s.cluster) + ":80"},
					{"its own backend by ClusterIP", local.Host, bracket(s.cluster) + ":80"},
					{"node by ClusterIP", n.Host, bracket(s.cluster) + ":80"},
					{"pod by NodePort", client.Host, fmt.Sprintf("%s:%d", bracket(s.node), s.nodePort)},
					{"machine by NodePort", vm, fmt.Sprintf("%s:%d", bracket(s.node), s.nodePort)},
				} {
					if _, err := from.h.Seen(from.addr); err != nil {
						t.Errorf("%s to %s of %s: %v", from.name, from.addr, s.backend, err)
					}
				}
			}
		})
	}
}
