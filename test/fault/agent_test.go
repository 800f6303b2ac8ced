package fault

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/version"
	agentview "github.com/truesize/truesize/pkg/viewd"
	"github.com/truesize/truesize/pkg/views"
	"github.com/truesize/truesize/test/reads"
)

// An agent of another version finds a view running: it is replaced by its own,
// keeper and server, under the readers.
func TestAgentUpgradesView(t *testing.T) {
	n := newNode(t, 5)
	n.binary = viewd(t, "v2")
	n.start()
	before := n.status()
	r := n.startReaders(8, time.Millisecond)
	at := reads.Now()
	n.supervise(viewd1(t))
	n.await("the agent's version", func() bool {
		st := n.status()
		return st.Version == version.Get().Version && st.Serving && st.ServerPID != before.ServerPID
	})
	n.await("the old keeper's end", func() bool { return gone(before.KeeperPID) })
	time.Sleep(100 * time.Millisecond)
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, []int64{at}, n.counted())
}

// An agent of another version whose truesize-viewd is broken changes nothing.
func TestAgentCannotUpgradeView(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	before := n.status()
	failed := n.supervise("/bin/false")
	select {
	case <-failed:
	case <-time.After(generous):
		t.Error("no failure was told of")
	}
	n.answers()
	if after := n.status(); after.KeeperPID != before.KeeperPID || after.ServerPID != before.ServerPID {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// viewd1 returns a truesize-viewd of the version that this test, as an agent,
// has.
func viewd1(t *testing.T) string { return viewd(t, version.Get().Version) }

// supervise runs an agent's supervisor until the test ends.
func (n *node) supervise(binary string) (failed <-chan struct{}) {
	failures := make(chan struct{}, 100)
	s := &agentview.Supervisor{
		RunDir: n.dir, Binary: binary, Log: slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Started: func() {}, Failed: func() { failures <- struct{}{} },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	n.t.Cleanup(func() {
		cancel()
		<-done
	})
	return failures
}

// Containers that were created while the agent was away get their view, once;
// an admin's detach stays.
func TestAgentAttachesMissed(t *testing.T) {
	n := newNode(t, 3)
	n.start()
	missed, detached, preloaded := n.containers[0], n.containers[1], n.containers[2]
	in0, in1, in2 := n.run(missed), n.run(detached), n.run(preloaded)
	n.entry(preloaded.id, func(c *registry.Container) { c.Shim = "/dev/truesize/0123/libtruesize.so" })
	v := views.New(n.dir, "/proc", n.reg)
	for _, c := range n.containers {
		if _, err := v.Detach(t.Context(), c.id); err != nil {
			t.Fatal(err)
		}
	}
	n.entry(missed.id, func(c *registry.Container) {
		c.Skipped, c.Detached = "created-earlier", false
		c.StartTicks = startOf(t, c.PID)
	})
	for _, c := range []container{detached, preloaded} {
		n.entry(c.id, func(c *registry.Container) { c.StartTicks = startOf(t, c.PID) })
	}
	attached, failed := 0, 0
	f := &views.Follower{
		Node: v, Log: slog.New(slog.DiscardHandler),
		Attached: func() { attached++ }, Failed: func() { failed++ },
	}
	for range 3 {
		f.Round(t.Context())
	}
	if attached != 1 || failed != 0 {
		t.Errorf("%d attached, %d failed; want 1 and 0", attached, failed)
	}
	n.wantInside(in0, missed, true)
	n.wantInside(in1, detached, false)
	n.wantInside(in2, preloaded, false)
	if out := n.mustTruesize("explain", preloaded.id); !strings.Contains(out, "taken off by an admin") {
		t.Errorf("explain does not say who took the view off:\n%s", out)
	}
	n.mustTruesize("attach", preloaded.id)
	n.wantInside(in2, preloaded, true)
	if c, err := n.reg.Get(preloaded.id); err != nil || c.Detached {
		t.Errorf("after it was attached: %+v, %v", c, err)
	}

	// One whose process is another by now fails, and once.
	n.entry(detached.id, func(c *registry.Container) {
		c.Skipped, c.Detached, c.StartTicks = "created-earlier", false, c.StartTicks+1
	})
	for range 3 {
		f.Round(t.Context())
	}
	if attached != 1 || failed != 1 {
		t.Errorf("%d attached, %d failed; want 1 and 1", attached, failed)
	}
}

// A view is taken off and attached again and again while the agent changes the
// container's size: neither undoes what the other has noted.
func TestAttachBesideAgent(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	c := n.containers[0]
	in := n.run(c)
	n.entry(c.id, func(e *registry.Container) { e.StartTicks = startOf(t, e.PID) })
	v := views.New(n.dir, "/proc", n.reg)
	stop, done := make(chan struct{}), make(chan uint64)
	go func() { // as [lifecycle.Manager] does
		changes := uint64(0)
		for {
			select {
			case <-stop:
				done <- changes
				return
			default:
			}
			unlock := n.reg.Lock(c.id)
			if e, err := n.reg.Get(c.id); err == nil {
				e.Decision.Size.Memory += 1 << 20
				if n.reg.Update(e) == nil {
					changes++
				}
			}
			unlock()
			time.Sleep(5 * time.Millisecond)
		}
	}()
	for range 10 {
		if _, err := v.Detach(t.Context(), c.id); err != nil {
			t.Error(err)
		}
		if _, err := v.Attach(t.Context(), c.id); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	changes := <-done
	e, err := n.reg.Get(c.id)
	if err != nil || e.Skipped != "" || len(e.Mounts) == 0 {
		t.Errorf("after it was attached: %+v, %v", e, err)
	}
	c.size.Memory += changes << 20
	if e.Decision.Size.Memory != c.size.Memory {
		t.Errorf("%d bytes after %d changes, want %d", e.Decision.Size.Memory, changes, c.size.Memory)
	}
	n.await("the last size", func() bool {
		out, err := n.inside(in, "cat", "/proc/meminfo")
		return err == nil && strings.Contains(out, fmt.Sprintf(" %d kB", c.size.Memory>>10))
	})
}
