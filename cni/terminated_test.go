package cni_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// terminate starts an ADD, ends it with SIGTERM once waiting says that it
// waits, and fails the test unless it answers with an error to try again.
func terminate(t *testing.T, n *node, p *pod, conf any, what string, waiting func() bool) {
	t.Helper()
	cmd := n.command("ADD", p, conf)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	waitFor(t, what, func() bool {
		if len(ended) > 0 {
			t.Fatalf("ADD ended by itself: %v: %s", <-ended, out.String())
		}
		return waiting()
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := <-ended
	var e types.Error
	if err == nil || !cmd.ProcessState.Exited() || json.Unmarshal(out.Bytes(), &e) != nil {
		t.Fatalf("ADD ended as %v with %q", err, out.String())
	}
	wantCode(t, &e, types.ErrTryAgainLater)
}

// TestTerminatedProbing: a runtime that gives up on an ADD that probes gets
// all taken back at once, not only by a later call. Both families are probed
// for at one time.
func TestTerminatedProbing(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24", "fd09::/64"}, "10.9.0.200/24", "fd09::c8/64")
	heard := listenFrames(t, lan.Host("vm", "10.9.0.240/24"))
	p := newPod(t, "c1").named("default", "web-0")
	conf := n.with("hostAccess", true, "sticky", "1h", "conflictDetection", "full")
	arps := 0
	terminate(t, n, p, conf, "the pod probes for both addresses", func() bool {
		arps = 0
		for _, f := range heard() {
			switch {
			case f.src != "56:54:0a:09:00:02":
			case f.proto == 0x0806:
				arps++
			case f.dst == "33:33:ff:00:00:02": // the solicited-node group of fd09::2
				return arps > 0
			}
		}
		return false
	})
	if arps != 1 {
		t.Errorf("%d ARP probes went before the first for IPv6", arps)
	}
	wantNothingLeft(t, n, p)
}

// TestTerminatedDelegating: the same where another plugin has given the
// address, or is about to. That plugin must hear of it.
func TestTerminatedDelegating(t *testing.T) {
	lan := nettest.NewLAN(t)
	heard := listenFrames(t, lan.Host("vm", "10.9.0.240/24"))
	for _, c := range []struct {
		name    string
		waiting func(c *cluster) bool
		slow    bool
	}{
		{"probing", func(*cluster) bool {
			for _, f := range heard() {
				if f.src == "56:54:0a:09:00:4d" && f.proto == 0x0806 {
					return true
				}
			}
			return false
		}, false},
		{"waiting for the plugin", func(c *cluster) bool {
			log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			return strings.Contains(string(log), "ADD c1")
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ipam := newCluster(t)
			n := newNode(t, lan, "node", nil, "10.9.0.200/24", "fd09::c8/64")
			n.path = ipam.dir
			if c.slow {
				must(os.WriteFile(filepath.Join(ipam.dir, "slow.ADD"), nil, 0o600))
			}
			p := newPod(t, "c1")
			conf := n.with("hostAccess", true, "conflictDetection", "full", "ipam", map[string]any{"type": "lakeside"})
			terminate(t, n, p, conf, "it is "+c.name, func() bool { return c.waiting(ipam) })
			if ipam.asked("DEL", "c1") == 0 {
				t.Error("the IPAM plugin was not told")
			}
			wantNothingLeft(t, n, p)
		})
	}
}
