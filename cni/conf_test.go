package cni

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/state"
)

func FuzzParseConf(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.1.0","name":"lan","type":"truesize-macvlan","master":"eth0","hostAccess":true,"serviceCIDRs":["10.96.0.0/12"],"sticky":"24h"}`), "IgnoreUnknown=1;MAC=02:00:00:00:00:01;IP=10.0.0.5")
	f.Add([]byte(`{"cniVersion":"0.4.0","name":"lan","mode":"vepa","hostAccess":"veth","prevResult":{"cniVersion":"0.4.0"}}`), "K8S_POD_NAME=web-0")
	f.Add([]byte(`{"cniVersion":"1.1.0","cni.dev/valid-attachments":[],"runtimeConfig":{"bandwidth":{"ingressRate":8,"ingressBurst":8}}}`), "")
	f.Add([]byte(`{"cniVersion":"1.1.0","ipam":{"type":"static"},"runtimeConfig":{"ips":["10.0.0.9"],"io.kubernetes.cri.pod-annotations":{"truesize.dev/ip":"10.0.0.5,fd00::5/64","truesize.dev/mac":"02:00:00:00:00:05"}}}`), "")
	f.Fuzz(func(t *testing.T, stdin []byte, args string) {
		c, err := ParseConf(stdin, args)
		var e *types.Error
		if err != nil && (!errors.As(err, &e) || e.Code == 0 || e.Msg == "") {
			t.Errorf("%q %q: not a CNI error: %v", stdin, args, err)
		}
		if err == nil && c.mac != nil && (len(c.mac) != 6 || c.mac[0]&1 != 0) {
			t.Errorf("accepted the MAC %v", c.mac)
		}
		if err == nil && !json.Valid(c.forIPAM(stdin)) {
			t.Errorf("%q: the IPAM plugin gets %q", stdin, c.forIPAM(stdin))
		}
	})
}

// TestValidAttachments: no list, null and an empty list are not the same.
func TestValidAttachments(t *testing.T) {
	for in, want := range map[string]bool{
		`{"cniVersion":"1.1.0"}`: false, `{"cniVersion":"1.1.0","cni.dev/valid-attachments":null}`: false,
		`{"cniVersion":"1.1.0","cni.dev/valid-attachments":[]}`: true,
	} {
		c, err := ParseConf([]byte(in), "")
		if err != nil || c.validGiven != want {
			t.Errorf("%s: %v %v", in, c, err)
		}
	}
}

func TestMAC(t *testing.T) {
	p := func(s ...string) []netip.Prefix {
		var ps []netip.Prefix
		for _, x := range s {
			ps = append(ps, netip.MustParsePrefix(x))
		}
		return ps
	}
	if got := macFromAddrs(p("fd00::1/64", "10.9.0.2/24")).String(); got != "56:54:0a:09:00:02" {
		t.Errorf("of an IPv4 address: %s", got)
	}
	a, b := macFromAddrs(p("fd00::1/64")), macFromAddrs(p("fd00::2/64"))
	if a.String() == b.String() || macFromAddrs(nil) != nil {
		t.Errorf("of IPv6 addresses: %s, %s", a, b)
	}
	k := state.Key{Network: "lan", ContainerID: "c1", IfName: "eth0"}
	k2 := state.Key{Network: "lan", ContainerID: "c2", IfName: "eth0"}
	pod := state.Pod{Namespace: "default", Name: "web-0"}
	if macFromIdentity(k, pod).String() != macFromIdentity(k2, pod).String() {
		t.Error("the successor of a pod has another MAC")
	}
	if macFromIdentity(k, state.Pod{}).String() == macFromIdentity(k2, state.Pod{}).String() {
		t.Error("two containers have one MAC")
	}
	for _, m := range []net.HardwareAddr{a, macFromIdentity(k, pod), macOfShimLink(a, "eth0")} {
		if len(m) != 6 || m[0]&3 != 2 {
			t.Errorf("%s is not a locally administered unicast address", m)
		}
	}
}

func TestLinkNames(t *testing.T) {
	host, pod := vethNames(state.Key{Network: "lan", ContainerID: "c1", IfName: "eth0"})
	for _, n := range []string{
		shimName("eth0"), shimName("enp0s31f6v1234"), vlanName("eth0", 100), vlanName("enp0s31f6v123", 4094), host, pod,
		ifbName(state.Key{Network: "lan"}), interimName(state.Key{Network: "lan"}),
	} {
		if len(n) > maxName || n == "" {
			t.Errorf("%q is not a link's name", n)
		}
	}
	if shimName("eth0") != "ts-eth0" || vlanName("eth0", 100) != "eth0.100" || shimName("enp0s31f6v1234") == shimName("enp0s31f6v1235") {
		t.Error("names are not what an admin expects")
	}
}

func TestParseResolvConf(t *testing.T) {
	d := parseResolvConf([]byte("# c\nnameserver 10.0.0.1\n; c\nsearch a b\nnameserver fd00::1\noptions ndots:2\ndomain x\nnameserver\n"))
	if len(d.Nameservers) != 2 || len(d.Search) != 2 || d.Options[0] != "ndots:2" || d.Domain != "x" {
		t.Errorf("%+v", d)
	}
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 10.0.0.1\nsearch a b\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { parseResolvConf(b) })
}

// TestShippedConflists: every file of deploy/cni is one the plugin accepts.
func TestShippedConflists(t *testing.T) {
	files, err := filepath.Glob("../deploy/cni/*.conflist")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var list struct {
			CNIVersion, Name string
			Plugins          []map[string]any
		}
		if err := json.Unmarshal(data, &list); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, p := range list.Plugins {
			known := map[string]bool{"type": true, "capabilities": true, "ipam": true}
			ct := reflect.TypeFor[Conf]()
			for i := range ct.NumField() {
				name, _, _ := strings.Cut(ct.Field(i).Tag.Get("json"), ",")
				known[name] = true
			}
			for k := range p {
				if !known[k] {
					t.Errorf("%s: the key %s means nothing", f, k)
				}
			}
			p["cniVersion"], p["name"] = list.CNIVersion, list.Name
			stdin, _ := json.Marshal(p)
			c, err := ParseConf(stdin, "")
			if err != nil {
				t.Errorf("%s: %v", f, err)
			} else if c.inProcess() {
				if _, err := hostlocal.ParseConfig(stdin, nil); err != nil {
					t.Errorf("%s: %v", f, err)
				}
			}
		}
	}
}
