package cni_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// TestFromAndToTheReference: pods attached by either plugin are checked and
// detached by the other, and the two never give one address twice.
func TestFromAndToTheReference(t *testing.T) {
	tools := filepath.Dir(tool(t, "macvlan"))
	tool(t, "host-local")
	lan := nettest.NewLAN(t)
	ours := newNode(t, lan, "node", []string{"10.9.0.0/29", "fd09::/125"}) // five pods
	theirs := *ours
	theirs.plugin, theirs.path = filepath.Join(tools, "macvlan"), tools
	seen := map[string]bool{}
	var pods []*pod
	for i, by := range []*node{ours, &theirs, ours, &theirs, ours} {
		p := newPod(t, "c"+string(rune('0'+i)))
		r := by.add(p, by.conf)
		for j := range r.IPs {
			if seen[ip(r, j)] {
				t.Errorf("%s was given twice", ip(r, j))
			}
			seen[ip(r, j)] = true
		}
		other := ours
		if by == ours {
			other = &theirs
		}
		if _, err := other.call("CHECK", p, merge(ours.conf, "prevResult", r)); err != nil {
			t.Errorf("CHECK by the other: %v", err)
		}
		pods = append(pods, p)
	}
	for i, by := range []*node{&theirs, ours, &theirs, ours, ours} {
		by.del(pods[i], by.conf)
		if pods[i].Has("eth0") {
			t.Errorf("pod %d keeps its interface", i)
		}
	}
	if left := reservations(t, ours); len(left) != 0 {
		t.Errorf("reserved: %v", left)
	}
	gc(t, ours, ours.conf)
	wantNothingLeft(t, ours, pods...)
}

// TestSmall: the program links no package of the large ones.
func TestSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../cmd/truesize-macvlan").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		for _, bad := range []string{"k8s.io/", "google.golang.org/", "go.opentelemetry.io/", "github.com/prometheus/", "github.com/twmb/", "net/http", "crypto/tls", "github.com/coreos/", "sigs.k8s.io/"} {
			if strings.HasPrefix(p, bad) {
				t.Errorf("truesize-macvlan links %s", p)
			}
		}
	}
}
