package cni_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// clusterIPAM is an IPAM plugin as those that keep one pool for a cluster
// behave: a result without interfaces and without interface indexes, DEL that
// succeeds when there is nothing, no STATUS and no GC of its own. What it is
// to answer is in files of its directory; it logs what it was asked.
const clusterIPAM = `#!/bin/sh
dir=$(dirname "$0")
cat > "$dir/stdin.$CNI_COMMAND"
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS" >> "$dir/log"
if [ -e "$dir/answer.$CNI_COMMAND" ]; then
	cat "$dir/answer.$CNI_COMMAND"
	exit 1
fi
[ -e "$dir/slow.$CNI_COMMAND" ] && exec sleep 1000
case $CNI_COMMAND in
ADD)
	echo '{"cniVersion": "1.0.0", "ips": [
		{"address": "10.9.0.77/24", "gateway": "10.9.0.1"}, {"address": "fd09::4d/64"}],
		"routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["10.9.0.53"]}}' ;;
DEL | CHECK) ;;
*)
	echo '{"cniVersion": "1.0.0", "code": 4, "msg": "unknown CNI_COMMAND: '$CNI_COMMAND'"}'
	exit 1 ;;
esac
`

// A cluster is an installed clusterIPAM.
type cluster struct {
	t   *testing.T
	dir string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t, t.TempDir()}
	must(os.WriteFile(filepath.Join(c.dir, "lakeside"), []byte(clusterIPAM), 0o755))
	return c
}

// fails makes a verb fail with the code, or work again for 0.
func (c *cluster) fails(verb, code string) {
	path := filepath.Join(c.dir, "answer."+verb)
	if code == "0" {
		must(os.Remove(path))
		return
	}
	must(os.WriteFile(path, []byte(`{"cniVersion":"1.0.0","code":`+code+`,"msg":"the store is away"}`), 0o600))
}

// asked returns how often a verb was asked for the container.
func (c *cluster) asked(verb, id string) int {
	log, err := os.ReadFile(filepath.Join(c.dir, "log"))
	must(err)
	return strings.Count(string(log), verb+" "+id+" eth0")
}

// TestIPAMByConvention: any IPAM plugin that keeps to the specification's
// delegation works, with what such plugins do and leave out.
func TestIPAMByConvention(t *testing.T) {
	lan := nettest.NewLAN(t)
	vm := lan.Host("vm", "10.9.0.240/24", "fd09::f0/64")
	setup := func(t *testing.T) (*cluster, *node, map[string]any, *pod) {
		c := newCluster(t)
		n := newNode(t, lan, "node", nil, "10.9.0.200/24", "fd09::c8/64")
		t.Cleanup(n.Destroy)
		n.path = c.dir
		conf := n.with("hostAccess", true, "ipam", map[string]any{"type": "lakeside", "range": "10.9.0.0/24"},
			"runtimeConfig", map[string]any{"ips": []string{"10.9.0.77"}})
		return c, n, conf, newPod(t, "c1").named("default", "web-0")
	}
	t.Run("ADD and DEL", func(t *testing.T) {
		c, n, conf, p := setup(t)
		r := n.add(p, conf)
		if len(r.IPs) != 2 || r.IPs[1].Interface == nil || r.Interfaces[*r.IPs[1].Interface].Name != "eth0" || r.DNS.Nameservers[0] != "10.9.0.53" {
			t.Errorf("result %+v", r)
		}
		p.Serve(t, ":80")
		vm.WantSeen(t, "10.9.0.77:80", "10.9.0.240")
		vm.WantSeen(t, "[fd09::4d]:80", "fd09::f0")
		n.WantSeen(t, "10.9.0.77:80", "10.9.0.200")
		stdin, err := os.ReadFile(filepath.Join(c.dir, "stdin.ADD"))
		if err != nil || !strings.Contains(string(stdin), `"range":"10.9.0.0/24"`) || !strings.Contains(string(stdin), `"ips":["10.9.0.77"]`) {
			t.Errorf("the plugin was given %s, %v", stdin, err)
		}
		log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
		if !strings.Contains(string(log), "ADD c1 eth0 IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0") {
			t.Errorf("the plugin was called as %s", log)
		}
		n.del(p, conf)
		n.del(p, conf)
		if c.asked("DEL", "c1") < 2 {
			t.Error("a second DEL does not reach the plugin")
		}
		wantNothingLeft(t, n, p)
	})
	t.Run("the pool is busy", func(t *testing.T) {
		c, n, conf, p := setup(t)
		c.fails("ADD", "11")
		_, err := n.tryAdd(p, conf)
		wantCode(t, err, 11)
		if c.asked("DEL", "c1") == 0 {
			t.Error("a failed ADD was not taken back at the plugin")
		}
		wantNothingLeft(t, n, p)
		c.fails("ADD", "0")
		n.add(p, conf)
		n.del(p, conf)
	})
	t.Run("annotation", func(t *testing.T) {
		c, n, conf, p := setup(t)
		fixed := func(ip string) map[string]any {
			return merge(conf, "runtimeConfig", map[string]any{"ips": []string{"10.9.0.99"},
				"io.kubernetes.cri.pod-annotations": map[string]string{"truesize.dev/ip": ip}})
		}
		n.add(p, fixed("10.9.0.77/24, fd09::4d"))
		stdin, err := os.ReadFile(filepath.Join(c.dir, "stdin.ADD"))
		if err != nil || !strings.Contains(string(stdin), `"ips":["10.9.0.77/24","fd09::4d"]`) {
			t.Errorf("the plugin was given %s, %v", stdin, err)
		}
		n.del(p, fixed("10.9.0.77/24, fd09::4d"))
		for ip, says := range map[string]string{"10.9.0.80": "asks for 10.9.0.80", "nonsense": "not an IP address"} {
			_, err := n.tryAdd(p, fixed(ip))
			wantCode(t, err, 7)
			if err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("the error does not say %q: %v", says, err)
			}
			n.del(p, fixed(ip))
			wantNothingLeft(t, n, p)
		}
		// A real plugin that takes them.
		n.path = filepath.Dir(tool(t, "static"))
		conf["ipam"] = map[string]any{"type": "static"}
		if r := n.add(p, fixed("10.9.0.88/24")); ip(r, 0) != "10.9.0.88" {
			t.Errorf("static gave %s", ip(r, 0))
		}
		n.del(p, fixed("10.9.0.88/24"))
	})
	t.Run("no address", func(t *testing.T) {
		c, n, conf, p := setup(t)
		must(os.WriteFile(filepath.Join(c.dir, "lakeside"), []byte("#!/bin/sh\necho '{\"cniVersion\":\"1.0.0\"}'\n"), 0o755))
		if _, err := n.tryAdd(p, conf); err == nil || !strings.Contains(err.Error(), "lakeside gave no address") {
			t.Errorf("got %v", err)
		}
		wantNothingLeft(t, n, p)
	})
	t.Run("DEL fails at first", func(t *testing.T) {
		c, n, conf, p := setup(t)
		n.add(p, conf)
		c.fails("DEL", "11")
		_, err := n.call("DEL", p, conf)
		wantCode(t, err, 11)
		if p.Has("eth0") {
			t.Error("the interface must go although the address cannot")
		}
		c.fails("DEL", "3") // it does not know the container: that is what DEL is for
		n.del(p, conf)
		wantNothingLeft(t, n, p)
	})
	t.Run("another plugin is configured before DEL", func(t *testing.T) {
		c, n, conf, _ := setup(t)
		local := map[string]any{"type": "host-local", "dataDir": filepath.Join(n.dir, "ipam"), "ranges": []any{[]any{rangeOf("10.9.0.0/24")}}}
		for id, ipam := range map[string]any{"none": nil, "local": local, "missing": map[string]any{"type": "elsewhere"}} {
			p := newPod(t, id)
			n.add(p, conf)
			n.del(p, merge(conf, "ipam", ipam))
			if c.asked("DEL", id) != 1 {
				t.Errorf("%s: the plugin that gave the addresses was not told", id)
			}
			wantNothingLeft(t, n, p)
		}
	})
	t.Run("records lost", func(t *testing.T) {
		c, n, conf, p := setup(t)
		n.add(p, conf)
		must(os.RemoveAll(filepath.Join(n.dir, "run")))
		must(os.RemoveAll(filepath.Join(n.dir, "state")))
		n.del(p, conf)
		if c.asked("DEL", "c1") == 0 {
			t.Error("the plugin was not told")
		}
	})
	t.Run("STATUS", func(t *testing.T) {
		c, n, conf, _ := setup(t)
		if _, err := n.call("STATUS", nil, conf); err != nil {
			t.Errorf("a plugin without STATUS: %v", err)
		}
		for _, code := range []string{"50", "51"} {
			c.fails("STATUS", code)
			_, err := n.call("STATUS", nil, conf)
			wantCode(t, err, map[string]uint{"50": 50, "51": 51}[code])
		}
		n.path = t.TempDir()
		_, err := n.call("STATUS", nil, conf)
		wantCode(t, err, 50)
	})
}
