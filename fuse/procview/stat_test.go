package procview

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/cgroup"
)

func newStat(t testing.TB, kernel string, cpus int) *Stat {
	t.Helper()
	s, err := NewStat(host(t, kernel, "stat"), cpus)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatGolden(t *testing.T) {
	for _, kernel := range []string{"6.18-x86", "6.1-x86", "5.10-x86"} {
		t.Run(kernel, func(t *testing.T) {
			s := newStat(t, kernel, 2)
			c := NewCounters(0)
			c.Advance(time.Hour, cgroup.CPU{User: 1234_567_890, System: 234_567_890, Nice: 34_567_890, Throttled: 400_000_000}, 2)
			c.SetLastPID(1234, true)
			got := s.Append(nil, &c, StatTasks{Running: 3, Blocked: 1})
			sized(t, got, s.Size())
			golden(t, "stat-"+kernel, got)
		})
	}
}

// The file keeps its length from the first second to after decades, and each
// page holds the same lines.
func TestStatConstantSize(t *testing.T) {
	for _, cpus := range []int{1, 2, 7, 64, 1024} {
		s := newStat(t, "6.18-x86", cpus)
		young := NewCounters(0)
		old := NewCounters(0)
		for i := range time.Duration(20) {
			old.Advance(i*30_000*time.Hour, cgroup.CPU{User: 1 << 60, System: 1 << 60, Throttled: 1 << 62}, cpus)
		}
		old.SetLastPID(1<<31, true)
		var pages [2]string
		for i, data := range [][]byte{
			s.Append(nil, &young, StatTasks{}),
			s.Append(nil, &old, StatTasks{Running: 1 << 40, Blocked: 1 << 40}),
		} {
			sized(t, data, s.Size())
			for at := 0; at < len(data); at += 4096 {
				page := data[at:min(at+4096, len(data))]
				pages[i] += strconv.Itoa(bytes.Count(page, []byte("\n"))) + " "
			}
			if n := bytes.Count(data, []byte("\ncpu")); n != cpus {
				t.Errorf("%d CPU lines, want %d", n, cpus)
			}
		}
		if pages[0] != pages[1] {
			t.Errorf("%d CPUs: lines per page %s, then %s", cpus, pages[0], pages[1])
		}
	}
}

// Every line is what programs parse: the first word, then numbers.
func TestStatLines(t *testing.T) {
	s := newStat(t, "6.1-x86", 3)
	c := NewCounters(0)
	c.Advance(100*time.Second, cgroup.CPU{User: 30_000_000, System: 6_000_000, Throttled: 9_000_000}, 3)
	data := string(s.Append(nil, &c, StatTasks{Running: 2, Blocked: 1}))
	want := map[string]string{
		"cpu":  "3000 0 600 25500 0 0 0 900 0 0",
		"cpu0": "1000 0 200 8500 0 0 0 300 0 0", "cpu1": "1000 0 200 8500 0 0 0 300 0 0", "cpu2": "1000 0 200 8500 0 0 0 300 0 0",
		"intr": "0", "ctxt": "0", "btime": "1795393738", "processes": "0", "procs_running": "2", "procs_blocked": "1",
		"softirq": "0 0 0 0 0 0 0 0 0 0 0",
	}
	for line := range strings.Lines(data) {
		f := strings.Fields(line)
		if got := strings.Join(f[1:], " "); got != want[f[0]] {
			t.Errorf("%s: %q, want %q", f[0], got, want[f[0]])
		}
		delete(want, f[0])
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// The host's boot time stays: a start time of /proc/PID/stat, which counts
// from the host's boot, added to it is in the past.
func TestStatBtime(t *testing.T) {
	h := host(t, "6.18-x86", "stat")
	s := newStat(t, "6.18-x86", 1)
	for line := range strings.Lines(string(h)) {
		if strings.HasPrefix(line, "btime") && !strings.Contains(string(s.Append(nil, new(Counters), StatTasks{})), "\n"+line) {
			t.Errorf("no %q", line)
		}
	}
	for _, in := range []string{"", "btime\n", "btime x\n", "cpu 1\n", "btime -1\n"} {
		if _, err := NewStat([]byte(in), 2); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func FuzzStat(f *testing.F) {
	f.Add(host(f, "6.18-x86", "stat"), 2)
	f.Add([]byte("btime 18446744073709551615"), 100)
	f.Fuzz(func(t *testing.T, data []byte, cpus int) {
		s, err := NewStat(data, cpus%2048)
		if err != nil {
			return
		}
		c := someCounters()
		if got := s.Append(nil, &c, StatTasks{}); len(got) != s.Size() {
			t.Errorf("%d bytes, Size says %d", len(got), s.Size())
		}
	})
}

func BenchmarkStat(b *testing.B) {
	for _, cpus := range []int{2, 64} {
		b.Run(fmt.Sprint(cpus), func(b *testing.B) {
			s := newStat(b, "6.18-x86", cpus)
			c := NewCounters(0)
			c.Advance(time.Hour, cgroup.CPU{User: 1 << 30, System: 1 << 29}, cpus)
			dst := make([]byte, 0, s.Size())
			b.ReportAllocs()
			for b.Loop() {
				s.Append(dst, &c, StatTasks{})
			}
		})
	}
}
