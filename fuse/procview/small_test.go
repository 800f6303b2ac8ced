package procview

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/size"
)

func TestUptime(t *testing.T) {
	u := NewUptime()
	idle := func(seconds uint64) *Counters {
		c := NewCounters(0)
		c.total[idle] = seconds * 1_000_000
		return &c
	}
	for _, tt := range []struct {
		up   time.Duration
		c    *Counters
		want string
	}{
		{0, idle(0), "0.00 0.00"},
		{-time.Second, idle(0), "0.00 0.00"},
		{882*time.Second + 769*time.Millisecond, idle(1505), "882.76 1505.00"},
		{60 * time.Millisecond, idle(1), "0.06 1.00"},
		{math.MaxInt64, idle(1 << 43), "9223372036.85 8796093022208.00"},
	} {
		got := u.Append(nil, tt.up, tt.c)
		sized(t, got, u.Size())
		if s := strings.TrimRight(string(got), " \n"); s != tt.want {
			t.Errorf("got %q, want %q", s, tt.want)
		}
	}
}

func TestLoadavg(t *testing.T) {
	l := NewLoadavg()
	for _, tt := range []struct {
		load  [3]float64
		tasks LoadTasks
		want  string
	}{
		{[3]float64{}, LoadTasks{}, "0.00 0.00 0.00 0/0 0"},
		{[3]float64{0.158, 0.364, 12.995}, LoadTasks{1, 92, 12941}, "0.16 0.36 13.00 1/92 12941"},
		{[3]float64{4194304, 4194304, 4194304}, LoadTasks{4194304, 4194304, 4194304}, "4194304.00 4194304.00 4194304.00 4194304/4194304 4194304"},
		{[3]float64{}, LoadTasks{-1, -1, -1}, "0.00 0.00 0.00 0/0 0"},
	} {
		got := l.Append(nil, Load{tt.load}, tt.tasks)
		sized(t, got, l.Size())
		if s := strings.TrimRight(string(got), " \n"); s != tt.want {
			t.Errorf("got %q, want %q", s, tt.want)
		}
	}
}

// The kernel's own averages of 10 active threads after 1, 5 and 15 minutes of
// samples each 5 seconds (EXP_1, EXP_5, EXP_15 of include/linux/sched/loadavg.h),
// and the same at any other pace.
func TestLoad(t *testing.T) {
	kernel := func(samples int) (avg [3]float64) {
		for i, exp := range [...]float64{1884.0 / 2048, 2014.0 / 2048, 2037.0 / 2048} {
			for range samples {
				avg[i] = avg[i]*exp + 10*(1-exp)
			}
		}
		return avg
	}
	for _, minutes := range []int{1, 5, 15} {
		for _, pace := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second} {
			var l Load
			for at := time.Duration(0); at < time.Duration(minutes)*time.Minute; at += pace {
				l.Add(10, pace)
			}
			for i, want := range kernel(minutes * 12) {
				if math.Abs(l.avg[i]-want) > 0.001 {
					t.Errorf("after %d minutes at a pace of %v: %v, the kernel has %v", minutes, pace, l.avg, kernel(minutes*12))
				}
			}
		}
	}
	var l Load
	l.Add(-5, -time.Second)
	if l != (Load{}) {
		t.Errorf("nonsense counted: %v", l)
	}
}

func TestSwaps(t *testing.T) {
	header := "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	for _, tt := range []struct {
		swap, used uint64
		want       string
	}{
		{0, 0, header},
		{1023, 5, header},
		{gib, 5 * mib, header + "/dev/swap                               partition\t1048576\t\t5120\t\t-2"},
		{64 * gib, 65 * gib, header + "/dev/swap                               partition\t67108864\t67108864\t-2"},
		{size.MaxMemory, 0, header + "/dev/swap                               partition\t4398046511104\t0\t\t-2"},
	} {
		s := NewSwaps(size.Size{Swap: tt.swap})
		got := s.Append(nil, tt.used)
		sized(t, got, s.Size())
		if strings.TrimRight(string(got), " \n") != strings.TrimRight(tt.want, "\n") {
			t.Errorf("swap %d: got %q, want %q", tt.swap, got, tt.want)
		}
	}
}

func TestDiskstats(t *testing.T) {
	for _, kernel := range []string{"6.18-x86", "6.1-x86", "5.10-x86"} {
		disks := ParseDiskstats(host(t, kernel, "diskstats"))
		d, err := NewDiskstats(disks)
		if err != nil {
			t.Fatal(err)
		}
		if !d.Same(disks) || d.Same(disks[1:]) {
			t.Errorf("Same is wrong")
		}
		io := []cgroup.Device{
			{Major: 254, ReadBytes: 2621440, WriteBytes: 122880, DiscardBytes: 1024, ReadIOs: 40, WriteIOs: 30, DiscardIOs: 2},
			{Major: 9, ReadIOs: 99}, // not a device of the host's list
		}
		got := d.Append(nil, io)
		sized(t, got, d.Size())
		golden(t, "diskstats-"+kernel, got)
		for line := range strings.Lines(string(got)) {
			if n := len(strings.Fields(line)); n != 20 {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		most := []cgroup.Device{{Major: 254, ReadBytes: math.MaxUint64, WriteBytes: math.MaxUint64, ReadIOs: math.MaxUint64, WriteIOs: math.MaxUint64, DiscardIOs: math.MaxUint64, DiscardBytes: math.MaxUint64}}
		sized(t, d.Append(nil, most), d.Size())
	}
	none, err := NewDiskstats(nil)
	if err != nil || none.Size() != 0 || len(none.Append(nil, nil)) != 0 {
		t.Errorf("no disks: %v", err)
	}
}

func FuzzDiskstats(f *testing.F) {
	f.Add(host(f, "6.18-x86", "diskstats"))
	f.Add([]byte("1 2 x y\n4294967296 1 a b\n\n 8 0 sda 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := NewDiskstats(ParseDiskstats(data))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Append(nil, []cgroup.Device{{Major: 8, ReadIOs: 5}}); len(got) != d.Size() {
			t.Errorf("%d bytes, Size says %d", len(got), d.Size())
		}
	})
}

func BenchmarkUptime(b *testing.B) {
	u := NewUptime()
	c := NewCounters(0)
	dst := make([]byte, 0, u.Size())
	b.ReportAllocs()
	for b.Loop() {
		u.Append(dst, 882*time.Second, &c)
	}
}

func BenchmarkLoadavg(b *testing.B) {
	l := NewLoadavg()
	dst := make([]byte, 0, l.Size())
	b.ReportAllocs()
	for b.Loop() {
		l.Append(dst, Load{}, LoadTasks{1, 92, 12941})
	}
}

func BenchmarkSwaps(b *testing.B) {
	s := NewSwaps(size.Size{Swap: gib})
	dst := make([]byte, 0, s.Size())
	b.ReportAllocs()
	for b.Loop() {
		s.Append(dst, mib)
	}
}

func BenchmarkDiskstats(b *testing.B) {
	d, err := NewDiskstats(ParseDiskstats(host(b, "6.18-x86", "diskstats")))
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 0, d.Size())
	io := []cgroup.Device{{Major: 254, ReadBytes: 1 << 30, ReadIOs: 12345}}
	b.ReportAllocs()
	for b.Loop() {
		d.Append(dst, io)
	}
}
