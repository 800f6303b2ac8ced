package view

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/kept"
	"github.com/truesize/truesize/fuse/procview"
	"github.com/truesize/truesize/pkg/procfs"
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

// Its load averages are those of the last count, not those that somebody read
// last, who may have done so days ago.
func TestResumeLoad(t *testing.T) {
	memory, err := kept.Create()
	if err != nil {
		t.Fatal(err)
	}
	v := newTestView(t)
	v.kept = memory
	register(t, v, testEntry("a", 1))
	v.reload("a")
	c := v.containers["a"]
	c.load.Add(1000, time.Hour)
	shown, err := c.Render(nil, loadavg)
	if err != nil {
		t.Fatal(err)
	}
	node, _ := fuse.NodeID("a", v.path(loadavg))
	memory.Snapshots().Store(node, shown, 1)

	c.load = procview.Load{}
	c.load.Add(3, time.Hour)
	want := c.load
	if err := c.file.storeLoad(want, procfs.SinceBoot()); err != nil {
		t.Fatal(err)
	}
	c.load = procview.Load{} // of a successor
	v.Resume()
	if c.load != want {
		t.Errorf("load %v, want the last count's %v", c.load.Averages(), want.Averages())
	}
	if err := c.file.storeLoad(want, procfs.SinceBoot()-2*loadsHold); err != nil {
		t.Fatal(err)
	}
	c.load = procview.Load{}
	if v.Resume(); c.load != (procview.Load{}) {
		t.Errorf("load %v of long ago", c.load.Averages())
	}
}

// It shows the devices that the node has now.
func TestResumeDisks(t *testing.T) {
	v, proc := newTestView(t), t.TempDir()
	disks := filepath.Join(proc, "diskstats")
	write := func(line string) {
		t.Helper()
		if err := os.WriteFile(disks, []byte(line), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("   8       0 sda 0 0 0 0 0 0 0 0 0 0 0\n")
	register(t, v, testEntry("a", 1))
	spare, err := New(Options{
		Registry: v.reg, CgroupRoot: "/sys/fs/cgroup", ProcRoot: proc, SysRoot: "/sys",
		Freshness: 50 * time.Millisecond, Threads: 2, Version: "test", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spare.Close)
	write("   8      16 sdb 0 0 0 0 0 0 0 0 0 0 0\n")
	spare.Resume()
	data, err := spare.containers["a"].Render(nil, diskstats)
	if err != nil || !strings.Contains(string(data), "sdb") {
		t.Errorf("%q, %v; want the device sdb", data, err)
	}
}
