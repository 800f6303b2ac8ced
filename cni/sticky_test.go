package cni_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// TestSticky: a StatefulSet's pod comes back to its addresses; others do not
// take them while they have a choice.
func TestSticky(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/29", "fd09::/125"}) // .2 to .6
	conf := n.with("sticky", "24h")
	start := func(id, name string) string {
		t.Helper()
		p := newPod(t, id)
		if name != "" {
			p.named("default", name)
		}
		defer n.del(p, conf)
		r := n.add(p, conf)
		return ip(r, 0) + " " + ip(r, 1)
	}
	first := start("a", "web-0")
	for i, other := range []string{"b", "c", "d", "e", "f", "g"} {
		if got := start(other, ""); got == first {
			t.Errorf("pod %d took the addresses kept for web-0", i)
		}
	}
	if again := start("h", "web-0"); again != first {
		t.Errorf("web-0 had %s and has %s", first, again)
	}
	if other := start("i", "web-1"); other == first {
		t.Error("web-1 took web-0's addresses")
	}
	// The successor may come before the predecessor's DEL.
	old, young := newPod(t, "old").named("default", "web-0"), newPod(t, "young").named("default", "web-0")
	n.add(old, conf)
	r := n.add(young, conf)
	if ip(r, 0)+" "+ip(r, 1) == first {
		t.Error("an address was given twice")
	}
	n.del(old, conf)
	n.del(young, conf)
	wantNothingLeft(t, n, old, young)
}

// TestStickyWithoutRecord: the DELs after a reboot find no record, the run
// directory being gone. The time for which the addresses are kept begins then;
// that of a pod which ran for longer would be over.
func TestStickyWithoutRecord(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"})
	conf := n.with("sticky", "24h")
	p := newPod(t, "c1").named("default", "web-0")
	n.add(p, conf)
	must(os.RemoveAll(filepath.Join(n.dir, "run")))
	n.del(p, conf)
	kept, err := os.ReadFile(filepath.Join(n.dir, "state/networks/lan/sticky.json"))
	if err != nil || !strings.Contains(string(kept), "web-0") || strings.Contains(string(kept), "held") {
		t.Errorf("the pod that has gone still holds its addresses: %s, %v", kept, err)
	}
	wantNothingLeft(t, n, p)
}
