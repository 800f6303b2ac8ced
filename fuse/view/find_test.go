package view

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/procfs"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
	"github.com/truesize/truesize/test/cgroups"
)

// newTestView returns a view of this node with a registry of its own.
func newTestView(t *testing.T) *View {
	t.Helper()
	return newTestViewOf(t, "/proc")
}

func newTestViewOf(t *testing.T, proc string) *View {
	t.Helper()
	reg, err := registry.Open(filepath.Join(t.TempDir(), "containers"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(Options{
		Registry: reg, CgroupRoot: "/sys/fs/cgroup", ProcRoot: proc, SysRoot: "/sys",
		Freshness: 50 * time.Millisecond, Threads: 2, Version: "test", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func register(t *testing.T, v *View, c *registry.Container) {
	t.Helper()
	if err := v.reg.Create(c, 0); err != nil {
		t.Fatal(err)
	}
}

func testEntry(id string, cpus int) *registry.Container {
	return &registry.Container{
		ID: id, BootID: "b", CreatedAt: time.Now(),
		Decision: size.Decision{Size: size.Size{CPUs: cpus, Memory: 1 << 30}},
	}
}

// online returns what the container's list of CPUs says.
func online(t *testing.T, v *View, id string) string {
	t.Helper()
	v.mu.Lock()
	c := v.containers[id]
	v.mu.Unlock()
	if c == nil {
		t.Fatalf("%s is not known", id)
	}
	data, err := c.Render(nil, cpuOnline)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// Who reads a file of a container that was just looked up waits for its entry.
func TestFind(t *testing.T) {
	v := newTestView(t)
	for i, id := range []string{"a", "b", "c", "d"} {
		register(t, v, testEntry(id, 1+i))
		if !v.find(id) {
			t.Fatalf("%s was not found", id)
		}
		if got, want := online(t, v, id), []string{"0\n", "0-1\n", "0-2\n", "0-3\n"}[i]; got != want {
			t.Errorf("%s: CPUs %q, want %q", id, got, want)
		}
	}
	if v.find("unknown") || v.find("../a") {
		t.Error("found what does not exist")
	}
}

// A container is taken for one that has not started until its process is known,
// and for a second only.
func TestUnstarted(t *testing.T) {
	v := newTestView(t)
	for name, tt := range map[string]struct {
		age time.Duration // since its registration
		pid int
		min time.Duration
	}{
		"new":                {0, 0, unstartedFor / 2},
		"runs":               {0, 1, 0},
		"old":                {time.Minute, 0, 0},
		"the clock was back": {-time.Hour, 0, unstartedFor / 2},
	} {
		e := testEntry("c", 2)
		e.CreatedAt, e.PID = time.Now().Add(-tt.age), tt.pid
		c := newContainer(v, "c")
		c.update(e, registry.Stamp{})
		if got := c.Unstarted(); got < tt.min || got > 2*tt.min {
			t.Errorf("%s: %v, want %v to %v", name, got, tt.min, 2*tt.min)
		}
		waits := tt.min > 0
		if waits {
			c.unstarted.Add(-int64(2 * unstartedFor))
		}
		if got := c.Unstarted(); got != 0 {
			t.Errorf("%s: %v after its time", name, got)
		}
		e.PID = 1
		if changed, started := c.update(e, registry.Stamp{}); changed || started != waits {
			t.Errorf("%s: told of its process: changed %t, started %t", name, changed, started)
		}
		if got := c.Unstarted(); got != 0 {
			t.Errorf("%s: %v after its start", name, got)
		}
		if _, started := c.update(e, registry.Stamp{}); started {
			t.Errorf("%s: started twice", name)
		}
	}
}

// What a look-up is told of a file's length is what a reader then gets.
func TestLength(t *testing.T) {
	v := newTestView(t)
	e := testEntry("c", 3)
	e.CreatedAt = time.Now()
	register(t, v, e)
	if !v.find("c") {
		t.Fatal("not found")
	}
	c, known := v.containers["c"], 0
	for file := range numFiles {
		length := c.Length(file)
		data, err := c.Render(nil, file)
		if err != nil || length != 0 && length != len(data) {
			t.Errorf("%s: %d bytes were announced, %d there are; %v", v.path(file), length, len(data), err)
		}
		if length > 0 {
			known++
		}
	}
	if known < 5 {
		t.Errorf("the length of %d files only is known", known)
	}
	if c.Unstarted() == 0 {
		t.Fatal("taken for one that runs")
	}
	if c.Begun(); c.Unstarted() != 0 {
		t.Error("taken for one that does not run, after it was read")
	}
}

// A program that reads before its process is known has run since its process
// started, not since its container was registered.
func TestStartOfFirstProcess(t *testing.T) {
	v := newTestView(t)
	e := testEntry("c", 1)
	age := procfs.SinceBoot() / 2 // no container is older than the machine
	e.Cgroup, e.CreatedAt = cgroups.Make(t, "first"), time.Now().Add(-age)
	register(t, v, e)
	v.find("c")
	c := v.containers["c"]
	uptimeOf := func() float64 {
		t.Helper()
		data, err := c.Render(nil, uptime)
		up, perr := strconv.ParseFloat(strings.Fields(string(data))[0], 64)
		if err = errors.Join(err, perr); err != nil {
			t.Fatal(err)
		}
		return up
	}
	c.Length(uptime) // reads the entry, as a look-up does
	c.Begun()
	if since := procfs.SinceBoot() - c.start; since < age {
		t.Errorf("without a process: started %v ago", since)
	}
	process := exec.Command("sleep", "3600")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	}()
	cgroups.Enter(t, e.Cgroup, process.Process.Pid)
	c.Begun()
	if up := uptimeOf(); up > age.Seconds()/2 {
		t.Errorf("uptime %v s of a program that has just begun", up)
	}
}

// A look-up, the event of the same entry, and readers meet.
func TestFindBesideReload(t *testing.T) {
	v := newTestView(t)
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		register(t, v, testEntry(id, 3))
		var wg sync.WaitGroup
		wg.Go(func() { v.reload(id) })
		for range 4 {
			wg.Go(func() {
				if !v.find(id) {
					t.Errorf("%s was not found", id)
				} else if got := online(t, v, id); got != "0-2\n" {
					t.Errorf("%s: CPUs %q", id, got)
				}
			})
		}
		wg.Wait()
	}
}

// A cgroup that a reader has opened while it was being made is opened anew when
// the container runs.
func TestCgroupOfSpecification(t *testing.T) {
	v := newTestView(t)
	e := testEntry("a", 1)
	e.Cgroup = cgroups.Make(t, "spec")
	register(t, v, e)
	if !v.find("a") {
		t.Fatal("not found")
	}
	c := v.containers["a"]
	if _, err := c.Render(nil, meminfo); err != nil {
		t.Fatal(err)
	}
	early := c.group
	if early == nil {
		t.Fatal("the cgroup of the specification is not read before the container runs")
	}
	e.PID = os.Getpid()
	if err := v.reg.Put(e); err != nil {
		t.Fatal(err)
	}
	v.reload("a")
	if _, err := c.Render(nil, meminfo); err != nil {
		t.Fatal(err)
	}
	if c.group == nil || c.group == early {
		t.Error("the cgroup was not opened anew")
	}
}

func TestFindUnusable(t *testing.T) {
	v := newTestView(t)
	register(t, v, testEntry("corrupt", 1))
	path := filepath.Join(v.reg.Path(), "corrupt", "container.json")
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !v.find("corrupt") {
		t.Error("an entry that cannot be used breaks its container")
	}
	host, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	if got := online(t, v, "corrupt"); strings.TrimSpace(got) != strings.TrimSpace(string(host)) {
		t.Errorf("CPUs %q, want the host's, %q", got, host)
	}
	eventually(t, "counted", func() bool { return v.stats.badEntries.Load() == 1 })

	skipped := testEntry("skipped", 1)
	skipped.Skipped = "privileged"
	register(t, v, skipped)
	v.find("skipped")
	online(t, v, "skipped") // whatever it is
	eventually(t, "forgotten", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.containers["skipped"] == nil
	})
}

// A container with very many threads is counted as seldom as its count is long.
func TestSampleRests(t *testing.T) {
	v := newTestView(t)
	e := testEntry("a", 1)
	e.Cgroup = cgroups.Make(t, "rests")
	register(t, v, e)
	v.reload("a")
	c, s := v.containers["a"], newTaskReader("/proc")
	defer s.close()
	now, step := time.Now(), time.Second // that a count takes
	clock := func() time.Time { now = now.Add(step); return now }
	if !c.sample(s, clock, false) || c.sampled.IsZero() {
		t.Fatal("not counted at first")
	}
	if _, _, err := c.file.loadLoad(); err != nil {
		t.Errorf("its load is not stored: %v", err)
	}
	first := c.sampled
	step = 0
	for now = first.Add(sampleEvery); now.Before(first.Add(longestRest)); now = now.Add(sampleEvery) {
		if c.sample(s, clock, false) || c.sampled != first {
			t.Fatalf("counted again %v after a count of a second", now.Sub(first))
		}
	}
	if !c.sample(s, clock, false) || c.sampled != now {
		t.Error("not counted again")
	}
	now = now.Add(sampleEvery)
	if !c.sample(s, clock, false) || c.sampled != now {
		t.Error("put off after a count that took no time")
	}
}

// Of a container whose cgroup cannot be read the times go on from what is known:
// the host's are of another start, and its /proc/stat is longer.
func TestTimesWithoutCgroup(t *testing.T) {
	v := newTestView(t)
	e := testEntry("a", 2)
	e.PID = os.Getpid() // and where its cgroup is is not known
	register(t, v, e)
	v.reload("a")
	c := v.containers["a"]
	if err := c.advance(); err == nil {
		t.Fatal("the cgroup can be read")
	}
	data, err := c.Render(nil, stat)
	if err != nil || len(data) != c.Length(stat) || strings.Count(string(data), "cpu") != 3 {
		t.Errorf("stat: %q, %v", data, err)
	}
	data, err = c.Render(nil, uptime)
	up, _, _ := strings.Cut(string(data), " ")
	seconds, perr := strconv.ParseFloat(up, 64)
	if err = errors.Join(err, perr); err != nil || len(data) != c.Length(uptime) || seconds > (procfs.SinceBoot()-c.start).Seconds() {
		t.Errorf("uptime: %q, %v; want the container's", data, err)
	}
	if n := v.stats.errors[stat][otherReason].Load(); n != 1 {
		t.Errorf("%d errors counted, want 1", n)
	}
}
