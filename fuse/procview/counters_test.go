package procview

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/cgroup"
)

const second = 1_000_000 // µs

// seconds is the totals in whole seconds, user nice system idle steal.
func seconds(c *Counters) (s [columns]uint64) {
	for i, us := range c.total {
		s[i] = us / second
	}
	return s
}

func TestCountersAdvance(t *testing.T) {
	type reading struct {
		at   time.Duration
		cpu  cgroup.CPU
		cpus int
	}
	tests := []struct {
		name     string
		readings []reading
		want     [columns]uint64 // user, nice, system, idle, steal in s
	}{
		{"idle since the start", []reading{{110 * time.Second, cgroup.CPU{}, 2}}, [columns]uint64{0, 0, 0, 20, 0}},
		{"what ran is not idle", []reading{{110 * time.Second, cgroup.CPU{User: 5 * second, System: 3 * second}, 2}}, [columns]uint64{5, 0, 3, 12, 0}},
		{"nice is a part of user", []reading{{110 * time.Second, cgroup.CPU{User: 5 * second, Nice: 2 * second}, 1}}, [columns]uint64{3, 2, 0, 5, 0}},
		{"throttled time is steal", []reading{{110 * time.Second, cgroup.CPU{User: 5 * second, Throttled: 3 * second}, 1}}, [columns]uint64{5, 0, 0, 2, 3}},
		{"steal fits beside what ran", []reading{{110 * time.Second, cgroup.CPU{User: 5 * second, Throttled: 300 * second}, 1}}, [columns]uint64{5, 0, 0, 0, 5}},
		{"deltas", []reading{
			{110 * time.Second, cgroup.CPU{User: 5 * second}, 1},
			{120 * time.Second, cgroup.CPU{User: 6 * second, System: second}, 1},
		}, [columns]uint64{6, 0, 1, 13, 0}},
		{"the cgroup is made anew", []reading{
			{110 * time.Second, cgroup.CPU{User: 5 * second, System: 2 * second, Throttled: second}, 1},
			{120 * time.Second, cgroup.CPU{User: 1 * second, System: 1 * second, Throttled: second}, 1},
		}, [columns]uint64{6, 0, 3, 9, 2}},
		{"the size changes", []reading{
			{110 * time.Second, cgroup.CPU{}, 4},
			{120 * time.Second, cgroup.CPU{}, 1},
			{130 * time.Second, cgroup.CPU{}, 2},
		}, [columns]uint64{0, 0, 0, 70, 0}},
		{"a burst beyond the size is made up for", []reading{
			{110 * time.Second, cgroup.CPU{User: 10*second + 500_000}, 1},
			{111 * time.Second, cgroup.CPU{User: 10*second + 500_000}, 1},
			{112 * time.Second, cgroup.CPU{User: 10*second + 500_000}, 1},
		}, [columns]uint64{10, 0, 0, 1, 0}}, // 10.5 and 1.5
		{"far beyond the size, for no more than a second", []reading{
			{110 * time.Second, cgroup.CPU{User: 100 * second}, 1},
			{120 * time.Second, cgroup.CPU{User: 100 * second}, 1},
		}, [columns]uint64{100, 0, 0, 9, 0}},
		{"throttling is told late", []reading{
			{110 * time.Second, cgroup.CPU{User: 9*second + 800_000, Throttled: second}, 1},
			{112 * time.Second, cgroup.CPU{User: 9*second + 800_000, Throttled: second}, 1},
		}, [columns]uint64{9, 0, 0, 1, 1}}, // 0.2 + 0.8 of steal, then 1.2 idle
		{"the clock stands still or goes back", []reading{
			{110 * time.Second, cgroup.CPU{User: second}, 1},
			{110 * time.Second, cgroup.CPU{User: second}, 1},
			{90 * time.Second, cgroup.CPU{User: second}, 1},
			{111 * time.Second, cgroup.CPU{User: second}, 1},
		}, [columns]uint64{1, 0, 0, 10, 0}},
		{"user gives to system and back", []reading{
			{110 * time.Second, cgroup.CPU{User: 5 * second, System: 5 * second}, 1},
			{120 * time.Second, cgroup.CPU{User: 4 * second, System: 8 * second}, 1},
			{130 * time.Second, cgroup.CPU{User: 8 * second, System: 8 * second}, 1},
		}, [columns]uint64{8, 0, 8, 14, 0}},
		{"system gives to user and back", []reading{
			{110 * time.Second, cgroup.CPU{User: 5 * second, System: 5 * second}, 1},
			{120 * time.Second, cgroup.CPU{User: 8 * second, System: 4 * second}, 1},
			{130 * time.Second, cgroup.CPU{User: 8 * second, System: 8 * second}, 1},
		}, [columns]uint64{8, 0, 8, 14, 0}},
		{"a size of nothing counts as one CPU", []reading{{101 * time.Second, cgroup.CPU{}, 0}}, [columns]uint64{0, 0, 0, 1, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := NewCounters(100 * time.Second)
			for _, r := range tt.readings {
				c.Advance(r.at, r.cpu, r.cpus)
			}
			if got := seconds(&c); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// Whatever happens, no number runs backwards, and the CPUs add up to the total.
func TestCountersNeverDecrease(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	c := NewCounters(0)
	stored := make([]byte, CountersSize)
	const cpus = 40
	var lastTotal [columns]uint64
	var last [cpus][columns]uint64
	var cpu cgroup.CPU
	now := time.Duration(0)
	n := 4
	for step := range 20_000 {
		switch rnd.IntN(20) {
		case 0:
			n = 1 + rnd.IntN(cpus)
		case 1:
			cpu = cgroup.CPU{} // the cgroup is made anew
		case 2:
			now -= time.Duration(rnd.Int64N(1e9))
		case 3: // another server carries on
			c.Marshal(stored)
			c = Counters{}
			if err := c.Unmarshal(stored); err != nil {
				t.Fatal(err)
			}
		case 4:
			moved := min(cpu.User, uint64(rnd.IntN(50_000))) // as the kernel's samples do
			cpu.User, cpu.System = cpu.User-moved, cpu.System+moved
		}
		now += time.Duration(rnd.Int64N(200e6))
		cpu.User += uint64(rnd.IntN(400_000))
		cpu.Nice += uint64(rnd.IntN(100_000))
		cpu.System += uint64(rnd.IntN(100_000))
		cpu.Throttled += uint64(rnd.IntN(300_000))
		c.Advance(now, cpu, n)

		checkGrew(t, step, "total", lastTotal, c.total)
		lastTotal = c.total
		for i := range cpus {
			v := c.cpu(i)
			checkGrew(t, step, "cpu", last[i], v)
			last[i] = v
		}
		if t.Failed() {
			return
		}
	}
}

func checkGrew(t *testing.T, step int, what string, before, after [columns]uint64) {
	t.Helper()
	for i := range after {
		if after[i] < before[i] {
			t.Errorf("step %d: column %d of %s went from %d to %d", step, i, what, before[i], after[i])
		}
	}
}

// With few sizes the CPUs' shares are exact.
func TestCountersDivideEvenly(t *testing.T) {
	c := NewCounters(0)
	now := time.Duration(0)
	var used uint64
	for i := range 10_000 {
		now += 7 * time.Millisecond
		used += 1001
		c.Advance(now, cgroup.CPU{User: used}, 1+i/2500) // 1, 2, 3, 4 CPUs
	}
	var sum [columns]uint64
	for i := range 4 {
		for col, ns := range c.cpu(i) {
			sum[col] += ns
		}
	}
	for col, total := range c.total {
		if lost := total*1000 - sum[col]; lost > 4 {
			t.Errorf("column %d: CPUs lost %d ns of %d µs", col, lost, total)
		}
	}
	if a, b := c.cpu(0)[user], c.cpu(3)[user]; a <= b || b == 0 {
		t.Errorf("CPU 0, which was there longer, has %d, CPU 3 %d", a, b)
	}
}

func TestCountersProcesses(t *testing.T) {
	var c Counters
	for _, step := range []struct {
		pid   int
		newer bool
		want  uint64
		last  int
	}{
		{0, false, 0, 0}, {5, false, 5, 5}, {5, true, 5, 5}, {9, true, 9, 9}, {0, true, 9, 9}, {-1, true, 9, 9},
		{2, false, 9, 9}, {10, true, 10, 10}, // the newest thread had ended
		{3, true, 13, 3}, {4, true, 14, 4}, // pids came around
	} {
		c.SetLastPID(step.pid, step.newer)
		if c.Processes() != step.want || c.LastPID() != step.last {
			t.Errorf("after pid %d: %d, the last one %d; want %d, %d", step.pid, c.Processes(), c.LastPID(), step.want, step.last)
		}
	}
}

func someCounters() Counters {
	c := NewCounters(time.Second)
	for i := 1; i < 30; i++ { // more sizes than there are shares
		c.Advance(time.Duration(i)*time.Minute, cgroup.CPU{User: uint64(i) * 7_000_001, System: uint64(i), Nice: uint64(i), Throttled: uint64(i)}, i)
	}
	c.SetLastPID(77, true)
	return c
}

func TestCountersStore(t *testing.T) {
	c := someCounters()
	stored := make([]byte, CountersSize)
	c.Marshal(stored)
	var got Counters
	if err := got.Unmarshal(stored); err != nil || got != c {
		t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, c)
	}
	before := c
	c.Advance(time.Hour, cgroup.CPU{User: 1 << 40}, 3)
	later := append([]byte(nil), stored...)
	c.Marshal(later)
	if err := got.Unmarshal(later); err != nil || got != c {
		t.Errorf("second copy: %v", err)
	}
	// A writer that dies at any byte of the second copy leaves the first.
	for n := range CountersSize {
		torn := append(append([]byte(nil), later[:n]...), stored[n:]...)
		if err := got.Unmarshal(torn); err != nil || got != before && got != c {
			t.Fatalf("torn at %d: %v", n, err)
		}
	}
	for n := range CountersSize {
		torn := append(append([]byte(nil), stored[:n]...), later[n:]...)
		if err := got.Unmarshal(torn); err != nil || got != before && got != c {
			t.Fatalf("torn from %d: %v", n, err)
		}
	}
}

func TestCountersCorrupt(t *testing.T) {
	c := someCounters()
	stored := make([]byte, CountersSize)
	c.Marshal(stored)
	for i := range stored {
		bad := append([]byte(nil), stored...)
		bad[i] ^= 0x10
		var got Counters
		if err := got.Unmarshal(bad); err == nil && got != c {
			t.Fatalf("byte %d: read what was not stored", i)
		} else if err != nil && (!errors.Is(err, ErrCorrupt) || got != Counters{}) {
			t.Fatalf("byte %d: %v, %+v", i, err, got)
		}
	}
	for _, bad := range [][]byte{nil, make([]byte, 10), make([]byte, CountersSize), stored[:CountersSize-1]} {
		var got Counters
		if err := got.Unmarshal(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

func FuzzCountersUnmarshal(f *testing.F) {
	c := someCounters()
	stored := make([]byte, CountersSize)
	c.Marshal(stored)
	f.Add(stored)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Counters
		if c.Unmarshal(data) == nil {
			c.Advance(time.Hour, cgroup.CPU{User: 1}, 2)
		}
	})
}

func BenchmarkCountersAdvance(b *testing.B) {
	c := NewCounters(0)
	stored := make([]byte, CountersSize)
	var i uint64
	b.ReportAllocs()
	for b.Loop() {
		i += 50_000
		c.Advance(time.Duration(i)*time.Microsecond, cgroup.CPU{User: i / 2, System: i / 8, Throttled: i / 3}, 2)
		c.Marshal(stored)
	}
}
