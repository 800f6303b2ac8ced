package fault

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/test/cgroups"
	"github.com/truesize/truesize/test/reads"
)

// Containers that come and go for ever leave nothing behind in the server: an
// entry and a cgroup of its own for each, and every file read.
func TestContainersComeAndGo(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	pid := n.server()
	var first usage
	rounds := scaled(300, 10_000)
	for i := range rounds {
		c := container{id: fmt.Sprintf("come-%d", i), size: newNodeSize, cgroup: cgroups.Make(t, fmt.Sprintf("come-%d", i))}
		n.register(c)
		for _, f := range reads.Files() {
			if data, err := os.ReadFile(n.path("view", c.id, f)); err != nil || len(data) == 0 {
				t.Fatalf("%s of %s: %d bytes, %v", f, c.id, len(data), err)
			}
		}
		for controller, path := range c.cgroup {
			_ = os.Remove(cgroupDir(controller, path)) // several controllers may share one
		}
		if err := n.reg.Remove(c.id); err != nil {
			t.Fatal(err)
		}
		if i == rounds/3 { // what is made once has been made
			first = n.settled(pid)
		}
	}
	last := n.settled(pid)
	t.Logf("FIGURES %s: %d containers: after a third %+v, at the end %+v", t.Name(), rounds, first, last)
	if last.Descriptors > first.Descriptors+2 || last.Goroutines > first.Goroutines+2 || last.KiB > first.KiB+first.KiB/2 {
		t.Errorf("went from %+v to %+v", first, last)
	}
	if n.server() != pid {
		t.Error("the server was replaced meanwhile")
	}
}

// A usage is what a server has: open descriptors, goroutines, and anonymous
// resident memory.
type usage struct{ Descriptors, Goroutines, KiB int }

// settled waits until the server has dropped the containers that are gone, and
// returns what it uses.
func (n *node) settled(pid int) usage {
	n.t.Helper()
	n.await("the containers' removal", func() bool {
		entries, err := os.ReadDir(n.path("view"))
		// c0 and .truesize. The kernel keeps the listing for a moment.
		return n.metric("truesize_viewd_containers") == 1 && err == nil && len(entries) == 2
	})
	time.Sleep(100 * time.Millisecond)
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		n.t.Fatal(err)
	}
	return usage{len(list), n.metric("truesize_viewd_goroutines"), n.memory(pid)}
}

// metric returns a value that the server's socket tells.
func (n *node) metric(name string) int {
	n.t.Helper()
	conn, err := net.Dial("unix", n.path("viewd.sock"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer conn.Close()
	data, err := io.ReadAll(conn)
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				n.t.Fatal(err)
			}
			return v
		}
	}
	n.t.Fatalf("no %s in %s", name, data)
	return 0
}

// One container that hammers its view does not slow another one down by
// much, nor grow the server.
func TestHammer(t *testing.T) {
	n := newNode(t, 2)
	n.start()
	quiet, hammered := n.containers[0], n.containers[1]
	pid := n.server()
	targets := func(c container) (list []reads.Target) {
		for _, f := range reads.Files() {
			list = append(list, reads.Target{Path: n.path("view", c.id, f), CPUs: c.size.CPUs, KiB: c.size.Memory >> 10})
		}
		return list
	}
	seconds := scaled(1, 10)
	measure := func() (reads.Report, time.Duration) {
		r := reads.Start(t, nil, 1, time.Millisecond, targets(quiet))
		time.Sleep(time.Duration(seconds) * time.Second)
		p := r.Stop()
		return p, p.Quantile(0.99)
	}
	alone, before := measure()
	rss := n.memory(pid)
	h := reads.Start(t, nil, 64, 0, targets(hammered))
	beside, after := measure()
	load := h.Stop()
	rssAfter := n.memory(pid)
	alone.Clean(t)
	beside.Clean(t)
	load.Clean(t)
	t.Logf("FIGURES %s: %d opens a second by 64 threads of one container: p99 of another %v alone, %v beside; RSS %d KiB, then %d KiB",
		t.Name(), int(load.Reads)/seconds, before.Round(time.Microsecond), after.Round(time.Microsecond), rss, rssAfter)
	if rssAfter > rss+8<<10 {
		t.Errorf("RSS went from %d KiB to %d KiB", rss, rssAfter)
	}
}

// memory returns the process's anonymous resident memory in KiB.
func (n *node) memory(pid int) int {
	n.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		n.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		n.t.Fatal(err)
	}
	return kib
}
