package view

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/procview"
)

// Node ids follow from the paths: two that collide would be refused at start.
func TestFilesMakeATree(t *testing.T) {
	if _, err := fuse.NewTree(Files(0)); err != nil {
		t.Error(err)
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		data   string
		length int
		want   string
		ok     bool
	}{
		{"a\nb\n", 4, "a\nb\n", true},
		{"a\nb\n", 8, "a\nb    \n", true},
		{"a\nb\n", 0, "a\nb\n", true}, // no constant length
		{"a\nb\n", 3, "", false},
		{"a", 4, "a  \n", true},
		{"", 4, "", false},
		{"", 0, "", false},
	} {
		got, ok := fit([]byte(c.data), c.length)
		if ok != c.ok || ok && string(got) != c.want {
			t.Errorf("fit(%q, %d) = %q, %v", c.data, c.length, got, ok)
		}
	}
}

func TestLastPID(t *testing.T) {
	for status, want := range map[string]int{
		"Name:\tx\nNSpid:\t4711\t12\nNSpgid:\t1\n": 12,
		"NSpid:\t4711\t12\t3\n":                    12, // in a namespace that the container made
		"NSpid:\t4711\n":                           4711,
		"NSpid:\n":                                 0,
		"NSpid:\t1\tx\n":                           0,
		"NSpid:\t1\t-5\n":                          0,
		"":                                         0,
	} {
		if got := lastPID([]byte(status)); got != want {
			t.Errorf("%q: got %d, want %d", status, got, want)
		}
	}
}

// Never more threads run than there are.
func TestLoadTasks(t *testing.T) {
	for _, c := range []struct {
		counted taskCount
		total   int
		want    procview.LoadTasks
	}{
		{taskCount{running: 2, total: 9, lastPID: 7}, 9, procview.LoadTasks{Running: 2, Total: 9, LastPID: 7}},
		{taskCount{running: 5, total: 6, lastPID: 18}, 3, procview.LoadTasks{Running: 3, Total: 3, LastPID: 18}},
		{taskCount{running: 0, total: 3}, 4, procview.LoadTasks{Running: 1, Total: 4}},
		{taskCount{}, 0, procview.LoadTasks{Running: 1, Total: 1}},
	} {
		if got := c.counted.among(c.total); got != c.want {
			t.Errorf("%+v of %d: %+v, want %+v", c.counted, c.total, got, c.want)
		}
	}
}

// What processes are made is what new pids tell: not that the newest thread has
// ended, and the next count finds an older one.
func TestNoteTasks(t *testing.T) {
	c := newContainer(nil, "c")
	for _, step := range []struct {
		start     uint64
		pid       int
		last      int
		processes uint64
	}{
		{100, 50, 50, 50},
		{10, 1, 50, 50},   // 50 has ended
		{200, 52, 52, 52}, // and 51 between the counts
		{10, 1, 52, 52},   //
		{300, 0, 52, 52},  // ended while it was looked at
		{400, 60, 60, 60}, //
		{400, 59, 60, 60}, // of the same tick
		{500, 7, 7, 67},   // pids came around
		{400, 60, 7, 67},  // the one that began the round has ended
		{600, 8, 8, 68},
	} {
		c.noteTasks(taskCount{running: 1, total: 2, lastPID: step.pid, start: step.start})
		if c.tasks.lastPID != step.last || c.counters.Processes() != step.processes {
			t.Errorf("pid %d: last pid %d, %d processes; want %d, %d",
				step.pid, c.tasks.lastPID, c.counters.Processes(), step.last, step.processes)
		}
	}
	// A successor of this server has its counters, and no count before.
	next := newContainer(nil, "c")
	next.counters = c.counters
	next.noteTasks(taskCount{lastPID: 1, start: 10})
	if next.counters.Processes() != 68 {
		t.Errorf("a successor found the container's first process: %d processes, want 68", next.counters.Processes())
	}
}

func TestHugePages(t *testing.T) {
	for meminfo, want := range map[string]uint64{
		"MemTotal: 1 kB\nHugePages_Total:       8\nHugepagesize:       2048 kB\n": 2 << 20,
		"HugePages_Total:       0\nHugepagesize:       2048 kB\n":                 0,
		"":                                       0,
		"HugePages_Total:\nHugepagesize: x kB\n": 0,
	} {
		if got := hugePages([]byte(meminfo)); got != want {
			t.Errorf("%q: got %d, want %d", meminfo, got, want)
		}
	}
}

// Containers of one size share their cpuinfo, and it goes with the last of them:
// they choose their number of CPUs.
func TestSharedCPUInfo(t *testing.T) {
	v := newTestView(t)
	for _, id := range []string{"a", "b"} {
		register(t, v, testEntry(id, 1000))
		v.reload(id)
	}
	if a, b := v.containers["a"].sized.cpuinfo, v.containers["b"].sized.cpuinfo; a == nil || a != b {
		t.Fatal("the cpuinfo of 1000 CPUs is there twice, or not at all")
	}
	for _, id := range []string{"a", "b"} {
		if err := v.reg.Remove(id); err != nil {
			t.Fatal(err)
		}
		v.reload(id)
	}
	eventually(t, "given back", func() bool {
		runtime.GC()
		return v.host.shared[1000].Value() == nil
	})
}

// A clock that is set moves the boot time, also of the containers there are.
func TestRefreshBoot(t *testing.T) {
	proc := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(proc, "stat"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("btime 7\n")
	v := newTestViewOf(t, proc)
	register(t, v, testEntry("a", 1))
	v.reload("a")
	for _, step := range []struct {
		host    string
		set     time.Duration
		renewed bool
		want    string
	}{
		{"btime 7\n", time.Millisecond, false, "btime 7\n"},
		{"btime 1795391260\n", time.Hour, true, "btime 1795391260\n"},
		{"btime 1795391260\n", 0, false, "btime 1795391260\n"},
		{"cpu\n", -time.Hour, true, "btime 1795391260\n"},
	} {
		write(step.host)
		if got := v.refreshBoot(v.clock + step.set); got != step.renewed {
			t.Errorf("clock set by %v: renewed %t, want %t", step.set, got, step.renewed)
		}
		data, err := v.containers["a"].Render(nil, stat)
		if err != nil || !strings.Contains(string(data), "\n"+step.want) {
			t.Errorf("clock set by %v: %q, %v; want %q", step.set, data, err, step.want)
		}
	}
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte("Name:\tx\nNSpid:\t4711\t12\n"))
	f.Add([]byte("HugePages_Total:       8\nHugepagesize:       2048 kB\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		hugePages(data)
		if lastPID(data) < 0 {
			t.Error("negative pid")
		}
		length := len(data) + 10
		if out, ok := fit(bytes.Clone(data), length); ok != (len(data) > 0) || ok && len(out) != length {
			t.Errorf("fit: %d bytes, %v", len(out), ok)
		}
	})
}

// Counters survive: in what was stored by a server that is gone, and not when
// the file was cut short, which is an error and no fault.
func TestCounterFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counters")
	f, err := openCounters(path)
	if err != nil {
		t.Fatal(err)
	}
	c := procview.NewCounters(0)
	if err := f.load(&c); err == nil {
		t.Error("an empty file was loaded")
	}
	c.SetLastPID(7, true)
	if err := f.store(&c); err != nil {
		t.Fatal(err)
	}
	again, err := openCounters(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	restored := procview.NewCounters(0)
	if err := again.load(&restored); err != nil || restored.Processes() != 7 {
		t.Errorf("restored %d, %v", restored.Processes(), err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.store(&c); err == nil {
		t.Error("stored into a file that is gone")
	}
	if err := f.load(&c); err == nil {
		t.Error("loaded from a file that is gone")
	}
	f.close()
}
