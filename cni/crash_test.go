package cni_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni"
	"github.com/truesize/truesize/cni/internal/nettest"
	"github.com/truesize/truesize/cni/state"
)

// long reports whether the tests shall run with the counts of the soak.
func long() bool { return os.Getenv("TRUESIZE_LONG") == "1" }

// TestParallel attaches and detaches many pods at once.
func TestParallel(t *testing.T) {
	const pods = 100
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"}, "10.9.0.200/24", "fd09::c8/64")
	conf := n.with("hostAccess", true)
	all := make([]*pod, pods)
	for i := range all {
		all[i] = newPod(t, fmt.Sprintf("c%d", i))
	}
	var mu sync.Mutex
	seen := map[string]string{}
	each(all, func(p *pod) {
		r, err := n.tryAdd(p, conf)
		if err != nil {
			t.Errorf("ADD %s: %v", p.id, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for i := range r.IPs {
			if other := seen[ip(r, i)]; other != "" {
				t.Errorf("%s was given to %s and %s", ip(r, i), other, p.id)
			}
			seen[ip(r, i)] = p.id
		}
	})
	n.Serve(t, ":80")
	all[0].Serve(t, ":80")
	if _, err := all[pods-1].Seen("10.9.0.200:80"); err != nil {
		t.Errorf("the last pod does not reach the node: %v", err)
	}
	each(all, func(p *pod) {
		if _, err := n.call("DEL", p, conf); err != nil {
			t.Errorf("DEL %s: %v", p.id, err)
		}
	})
	wantNothingLeft(t, n, all...)
}

// each calls f for all pods at once.
func each(pods []*pod, f func(*pod)) {
	var wg sync.WaitGroup
	for _, p := range pods {
		wg.Go(func() { f(p) })
	}
	wg.Wait()
}

// TestKilled kills ADDs and DELs at random moments. Then GC with the list of
// what the runtime knows must leave exactly that, and a retried ADD must work.
func TestKilled(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 40
	}
	if long() {
		kills = 2000
	}
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"}, "10.9.0.200/24", "fd09::c8/64")
	conf := n.with("hostAccess", true, "sticky", "1h")
	span := callTime(t, n, conf)
	const width = 8
	slots := make([]*pod, width)
	var all []*pod
	killed := 0
	for round := 0; killed < kills; round++ {
		for i := range slots {
			slots[i] = newPod(t, fmt.Sprintf("r%d-%d", round, i)).named("default", fmt.Sprintf("web-%d", i))
		}
		all = append(all, slots...)
		for _, verb := range []string{"ADD", "DEL"} {
			var mu sync.Mutex
			each(slots, func(p *pod) {
				if killAt(t, n.command(verb, p, conf), n, rand.N(span)) {
					mu.Lock()
					killed++
					mu.Unlock()
				}
			})
			// Whatever the first call left, the runtime may call again.
			p := slots[round%width]
			if verb == "ADD" {
				n.del(p, conf)
				n.add(p, conf)
				wantDistinct(t, n)
			}
			n.del(p, conf)
		}
		if round%5 == 0 {
			keep := slots[(round+1)%width]
			n.del(keep, conf)
			r := n.add(keep, conf)
			gc(t, n, conf, keep)
			if got := reservations(t, n); len(got) != len(r.IPs) {
				t.Fatalf("after GC the addresses %v are reserved, want those of one pod, %v", got, r.IPs)
			}
			wantWays(t, n, len(r.IPs))
			n.del(keep, conf)
			wantNothingLeft(t, n, all...)
			for _, p := range all {
				p.Destroy()
			}
			all = nil
		}
	}
	gc(t, n, conf)
	wantNothingLeft(t, n, all...)
	t.Logf("%d calls killed", killed)
}

// TestKilledBeforeRename: on kernels that cannot make the interface under its
// own name, a call that is killed before it could rename it leaves it under
// another.
func TestKilledBeforeRename(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	for _, verb := range []string{"DEL", "GC"} {
		p := newPod(t, "c-"+verb)
		n.add(p, n.conf)
		l := p.Link("eth0")
		must(p.Conn.LinkSetDown(l))
		must(p.Conn.LinkSetName(l, cni.InterimName(state.Key{Network: "lan", ContainerID: p.id, IfName: "eth0"})))
		if verb == "DEL" {
			n.del(p, n.conf)
		} else {
			gc(t, n, n.conf)
		}
		wantNothingLeft(t, n, p)
	}
}

// wantWays fails the test unless the node has this many routes and permanent
// neighbours by its shim: those of the pods that are left.
func wantWays(t *testing.T, n *node, count int) {
	t.Helper()
	index := n.Link("ts-eth0").Attrs().Index
	routes, err := n.Conn.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: index, Protocol: 84}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	must(err)
	all, err := n.Conn.NeighList(index, netlink.FAMILY_ALL)
	must(err)
	neighbours := 0
	for _, e := range all {
		if e.State&netlink.NUD_PERMANENT != 0 {
			neighbours++
		}
	}
	if len(routes) != count || neighbours != count {
		t.Errorf("the node has %d routes and %d neighbours by the shim, want %d: %v %v", len(routes), neighbours, count, routes, all)
	}
}

// callTime is how long an ADD takes here, with some room.
func callTime(t *testing.T, n *node, conf any) time.Duration {
	p := newPod(t, "timing")
	start := time.Now()
	n.add(p, conf)
	d := time.Since(start)
	n.del(p, conf)
	return d * 3 / 2
}

// killAt runs cmd and kills it after d, if it has not ended by then.
func killAt(t *testing.T, cmd *exec.Cmd, n *node, d time.Duration) bool {
	if err := n.Start(cmd); err != nil {
		t.Error(err)
		return false
	}
	timer := time.AfterFunc(d, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	return err != nil && !cmd.ProcessState.Exited()
}

// gc runs GC with the pods as the valid ones.
func gc(t *testing.T, n *node, conf map[string]any, valid ...*pod) {
	t.Helper()
	list := []any{}
	for _, p := range valid {
		list = append(list, map[string]any{"containerID": p.id, "ifname": "eth0"})
	}
	if _, err := n.call("GC", nil, merge(conf, "cni.dev/valid-attachments", list)); err != nil {
		t.Fatalf("GC: %v", err)
	}
}

// wantDistinct fails the test if two reservations are of one container in
// one family, or a container's are not what its record says.
func wantDistinct(t *testing.T, n *node) {
	t.Helper()
	seen := map[string]string{}
	for _, a := range reservations(t, n) {
		data, err := os.ReadFile(filepath.Join(n.dir, "ipam/lan", a))
		if err != nil {
			continue
		}
		key := string(data)
		if bytes.ContainsRune([]byte(a), ':') {
			key += "/6"
		}
		if seen[key] != "" {
			t.Errorf("%q has both %s and %s", data, seen[key], a)
		}
		seen[key] = a
	}
}

// TestGCWithoutAList: no list is not an empty one.
func TestGCWithoutAList(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	conf := n.with("hostAccess", true)
	alive, dead := newPod(t, "alive"), newPod(t, "dead")
	n.add(alive, conf)
	n.add(dead, conf)
	dead.Destroy()
	waitFor(t, "the dead pod's macvlan goes", func() bool {
		if _, err := n.call("GC", nil, conf); err != nil {
			t.Fatal(err)
		}
		return len(reservations(t, n)) == 1
	})
	if !alive.Has("eth0") {
		t.Error("GC without a list took a living pod's interface")
	}
	gc(t, n, conf, alive)
	if !alive.Has("eth0") || len(reservations(t, n)) != 1 {
		t.Error("GC took a valid attachment")
	}
	gc(t, n, conf)
	if alive.Has("eth0") {
		t.Error("GC with an empty list left an attachment")
	}
	wantNothingLeft(t, n, alive)
}

// TestDelWithNothing: DEL succeeds whatever is missing.
func TestDelWithNothing(t *testing.T) {
	lan := nettest.NewLAN(t)
	for _, c := range []struct {
		name string
		lose func(n *node, p *pod)
	}{
		{"nothing", func(*node, *pod) {}},
		{"namespace", func(_ *node, p *pod) { p.Destroy() }},
		{"namespace's name", func(_ *node, p *pod) { p.Remove() }},
		{"no CNI_NETNS", func(_ *node, p *pod) { p.Path = "" }},
		{"interface", func(_ *node, p *pod) { must(p.Conn.Delete("eth0")) }},
		{"shim", func(n *node, _ *pod) { must(n.Conn.Delete("ts-eth0")) }},
		{"master", func(n *node, _ *pod) { must(n.Conn.Delete("eth0")) }},
		{"run directory", func(n *node, _ *pod) { must(os.RemoveAll(filepath.Join(n.dir, "run"))) }},
		{"state directory", func(n *node, _ *pod) { must(os.RemoveAll(filepath.Join(n.dir, "state"))) }},
		{"address store", func(n *node, _ *pod) { must(os.RemoveAll(filepath.Join(n.dir, "ipam"))) }},
		{"all directories", func(n *node, _ *pod) {
			for _, d := range []string{"run", "state", "ipam"} {
				must(os.RemoveAll(filepath.Join(n.dir, d)))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
			conf := n.with("hostAccess", true)
			p := newPod(t, "c1")
			n.add(p, conf)
			c.lose(n, p)
			n.del(p, conf)
			n.del(p, conf)
			wantNoFiles(t, n)
			q := newPod(t, "c2")
			if c.name == "master" {
				return
			}
			n.add(q, conf)
			n.del(q, conf)
			wantNothingLeft(t, n, q)
		})
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// TestLateDel: the DEL of an old container comes when its address, and its
// namespace's path, are another's.
func TestLateDel(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24 10.9.0.10-10.9.0.10"}, "10.9.0.200/24")
	conf := n.with("hostAccess", true)
	old := newPod(t, "old")
	n.add(old, conf)
	n.del(old, conf)
	young := newPod(t, "young")
	r := n.add(young, conf)
	young.Serve(t, ":80")
	old.Path = young.Path
	n.del(old, conf)
	n.WantSeen(t, ip(r, 0)+":80", "10.9.0.200")
	if got := reservations(t, n); len(got) != 1 {
		t.Errorf("reserved: %v", got)
	}
}
