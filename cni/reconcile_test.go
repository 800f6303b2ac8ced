package cni_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/internal/nettest"
	"github.com/truesize/truesize/cni/reconcile"
)

// pass runs one pass of the agent's component on the node.
func pass(t *testing.T, n *node, r *reconcile.Reconciler) {
	t.Helper()
	n.Do(func() error { return r.Pass(context.Background()) })
}

func reconcilerOf(n *node) *reconcile.Reconciler {
	return reconcile.New(reconcile.Config{RunDir: filepath.Join(n.dir, "run"), StateDir: filepath.Join(n.dir, "state")})
}

func TestReconcileCollectsTheDead(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"}, "10.9.0.200/24", "fd09::c8/64")
	conf := n.with("hostAccess", true)
	alive, dead, hidden := newPod(t, "alive"), newPod(t, "dead"), newPod(t, "hidden")
	for _, p := range []*pod{alive, dead, hidden} {
		n.add(p, conf)
	}
	dead.Destroy()
	hidden.Remove() // its path is gone, yet it lives: a process holds it
	r := reconcilerOf(n)
	waitFor(t, "the dead pod is collected", func() bool {
		pass(t, n, r)
		return len(reservations(t, n)) == 4
	})
	alive.Serve(t, ":80")
	if _, err := n.Seen("10.9.0.2:80"); err != nil {
		t.Errorf("the living pod is not reached: %v", err)
	}
	s := snapshot(t, n, r)
	if s.Collected["attachment"] != 1 || s.Networks["lan"].IPv4.InUse != 2 || s.Networks["lan"].IPv4.Free != 251 || s.Networks["lan"].Attachments != 2 {
		t.Errorf("snapshot %+v", s)
	}
	if add := s.Ops["ADD"]; add.Sum == 0 || len(add.Errors) != 0 {
		t.Errorf("ADDs counted: %+v", add)
	}
}

func snapshot(t *testing.T, n *node, r *reconcile.Reconciler) (s reconcile.Snapshot) {
	t.Helper()
	n.Do(func() (err error) {
		s, err = r.Snapshot()
		return err
	})
	return s
}

func TestReconcileRestoresTheNode(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"}, "10.9.0.200/24", "fd09::c8/64")
	conf := n.with("hostAccess", true)
	p := newPod(t, "c1")
	r := n.add(p, conf)
	p.Serve(t, ":80")
	n.Serve(t, ":80")
	rec := reconcilerOf(n)
	for _, c := range []struct {
		name string
		lose func()
	}{
		{"nothing", func() {}},
		{"shim", func() { must(n.Conn.Delete("ts-eth0")) }},
		{"shim, and the master has another MAC", func() {
			must(n.Conn.LinkSetHardwareAddr(n.Link("eth0"), net.HardwareAddr{2, 0, 0, 0, 0, 0x42}))
			must(n.Conn.Delete("ts-eth0"))
		}},
		{"claim", func() { must(os.Remove(filepath.Join(n.dir, "run/addresses/lan", ip(r, 0)))) }},
		{"shim down", func() { must(n.Conn.LinkSetDown(n.Link("ts-eth0"))) }},
		{"route", func() {
			must(n.Conn.RouteDel(&netlink.Route{LinkIndex: n.Link("ts-eth0").Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: r.IPs[0].Address.IP, Mask: net.CIDRMask(32, 32)}}))
		}},
		{"neighbour", func() {
			must(n.Conn.NeighDel(&netlink.Neigh{LinkIndex: n.Link("ts-eth0").Attrs().Index, IP: r.IPs[1].Address.IP}))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.lose()
			pass(t, n, rec)
			n.WantSeen(t, ip(r, 0)+":80", "10.9.0.200")
			n.WantSeen(t, "["+ip(r, 1)+"]:80", "fd09::c8")
			p.WantSeen(t, "10.9.0.200:80", ip(r, 0))
			p.WantSeen(t, "[fd09::c8]:80", ip(r, 1))
		})
	}
	n.del(p, conf)
	wantNothingLeft(t, n, p)
}

// TestReconcileLeavesTheHidden: a namespace whose path is gone, or is not where
// the agent looks, lives on with its processes, where no MAC on the node's
// master says so.
func TestReconcileLeavesTheHidden(t *testing.T) {
	lan := nettest.NewLAN(t)
	for name, kv := range map[string][]any{"linkInContainer": {"linkInContainer", true, "master", "up0"}, "passthru": {"mode", "passthru"}} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, lan, "node", []string{"10.9.0.0/24"})
			p := newPod(t, name)
			lan.Join(p.Host, "up0")
			n.add(p, n.with(kv...))
			lives := exec.Command("sleep", "1000")
			must(p.Start(lives))
			p.Remove()
			r := reconcilerOf(n)
			pass(t, n, r)
			if len(reservations(t, n)) != 1 {
				t.Error("the living pod was collected")
			}
			must(lives.Process.Kill())
			_ = lives.Wait()
			p.Destroy()
			pass(t, n, r)
			if len(reservations(t, n)) != 0 {
				t.Error("the dead pod was not collected")
			}
		})
	}
}

// TestReconcileOfAnotherDirectory: an agent with another run directory than the
// plugin's knows nobody who uses the shim.
func TestReconcileOfAnotherDirectory(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	conf := n.with("hostAccess", true)
	p := newPod(t, "c1")
	r := n.add(p, conf)
	p.Serve(t, ":80")
	pass(t, n, reconcile.New(reconcile.Config{RunDir: t.TempDir(), StateDir: t.TempDir()}))
	n.WantSeen(t, ip(r, 0)+":80", "10.9.0.200")
	// One whose records are lost is still collected.
	must(os.RemoveAll(filepath.Join(n.dir, "run")))
	pass(t, n, reconcilerOf(n))
	if n.Has("ts-eth0") {
		t.Error("the shim is left")
	}
}

// TestReconcileForgotten: the runtime has lost sandboxes whose namespaces
// still exist. Only a pod's with nobody in it goes, and only once the runtime
// has said twice that it does not know it.
func TestReconcileForgotten(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	conf := n.with("hostAccess", true)
	known, lost, lives := newPod(t, "known"), newPod(t, "lost"), newPod(t, "lives")
	for _, p := range []*pod{known, lost, lives} {
		n.add(p.named("default", p.id), conf)
	}
	other := newPod(t, "other") // not a pod's: an admin's, by cnitool
	n.add(other, conf)
	background(t, lives.Host, exec.Command("sleep", "1000"))
	ids, ok := map[string]bool{"known": true}, false
	r := reconcile.New(reconcile.Config{RunDir: filepath.Join(n.dir, "run"), StateDir: filepath.Join(n.dir, "state"),
		Grace: time.Nanosecond, Sandboxes: func(context.Context) (map[string]bool, bool) { return ids, ok }})
	for i, step := range []struct {
		ok   bool
		left int
	}{
		{false, 4}, {false, 4},
		{true, 4},
		{false, 4}, // between, the runtime was away: it begins anew
		{true, 4}, {true, 3}, {true, 3},
	} {
		ok = step.ok
		pass(t, n, r)
		if got := len(reservations(t, n)); got != step.left {
			t.Errorf("after pass %d %d addresses are reserved, want %d", i, got, step.left)
		}
	}
	if lost.Has("eth0") {
		t.Error("the lost pod's interface is left")
	}
	for _, p := range []*pod{known, lives, other} {
		if !p.Has("eth0") {
			t.Errorf("the interface of %s was collected", p.id)
		}
	}
	if n.Has("ts-eth0") != true {
		t.Error("the shim is gone while pods use it")
	}
}

// TestReconcileGrace: a young pod is in no list yet.
func TestReconcileGrace(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	p := newPod(t, "young").named("default", "young")
	n.add(p, n.conf)
	r := reconcile.New(reconcile.Config{RunDir: filepath.Join(n.dir, "run"), StateDir: filepath.Join(n.dir, "state"),
		Grace: time.Hour, Sandboxes: func(context.Context) (map[string]bool, bool) { return nil, true }})
	for range 3 {
		pass(t, n, r)
	}
	if !p.Has("eth0") {
		t.Error("it was collected")
	}
}

// TestReboot: all records are of an earlier boot, and the runtime has
// forgotten everything.
func TestReboot(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24 10.9.0.10-10.9.0.10"}, "10.9.0.200/24")
	for _, how := range []string{"run directory kept", "run directory gone"} {
		for _, by := range []string{"reconciler", "ADD"} {
			t.Run(how+", "+by, func(t *testing.T) {
				old := newPod(t, "old-"+by)
				n.add(old, n.conf)
				must(old.Conn.Delete("eth0")) // the kernel itself would take a moment
				old.Destroy()
				reboot(t, n, how == "run directory gone")
				if by == "reconciler" {
					pass(t, n, reconcilerOf(n))
					wantNoFiles(t, n)
				}
				p := newPod(t, "new-"+by)
				r, err := n.tryAdd(p, n.conf)
				if err != nil {
					t.Fatalf("the address of an earlier boot is not free: %v", err)
				}
				if ip(r, 0) != "10.9.0.10" {
					t.Errorf("got %s", ip(r, 0))
				}
				n.del(p, n.conf)
			})
		}
	}
}

// reboot makes the node's files those of an earlier boot.
func reboot(t *testing.T, n *node, runGone bool) {
	t.Helper()
	must(os.WriteFile(filepath.Join(n.dir, "state/networks/lan/boot"), []byte("earlier"), 0o600))
	for _, a := range reservations(t, n) {
		must(os.Chtimes(filepath.Join(n.dir, "ipam/lan", a), time.Unix(1e9, 0), time.Unix(1e9, 0)))
	}
	if runGone {
		must(os.RemoveAll(filepath.Join(n.dir, "run")))
		return
	}
	records, _ := filepath.Glob(filepath.Join(n.dir, "run/attachments/lan/*"))
	for _, f := range records {
		data, err := os.ReadFile(f)
		must(err)
		var rec map[string]any
		must(json.Unmarshal(data, &rec))
		rec["bootID"] = "earlier"
		data, _ = json.Marshal(rec)
		must(os.WriteFile(f, data, 0o600))
	}
	if len(records) == 0 {
		t.Fatal("no record to age: " + strings.Join(records, " "))
	}
}
