package view

import (
	"log/slog"
	"testing"
	"time"
)

// A server that has waited while another one served, and containers changed,
// goes on from that one's counters, not from those it began with.
func TestResumeAfterChange(t *testing.T) {
	v := newTestView(t)
	e := testEntry("a", 1)
	register(t, v, e)
	v.reload("a")
	spare, err := New(Options{
		Registry: v.reg, CgroupRoot: "/sys/fs/cgroup", ProcRoot: "/proc", SysRoot: "/sys",
		Freshness: 50 * time.Millisecond, Threads: 2, Version: "test", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spare.Close)

	e.Decision.Size.CPUs = 64
	if err := v.reg.Put(e); err != nil {
		t.Fatal(err)
	}
	v.reload("a")
	c := v.containers["a"]
	c.counters.SetLastPID(4711, true)
	if _, err := c.Render(nil, stat); err != nil {
		t.Fatal(err)
	}

	spare.Resume()
	c2 := spare.containers["a"]
	if _, err := c2.Render(nil, stat); err != nil {
		t.Fatal(err)
	}
	if got := c2.counters.Processes(); got != 4711 {
		t.Errorf("%d processes, want the predecessor's 4711", got)
	}
	if got, before := c2.counters.IdleMicros(), c.counters.IdleMicros(); got < before {
		t.Errorf("idle for %d µs, after %d", got, before)
	}
}
