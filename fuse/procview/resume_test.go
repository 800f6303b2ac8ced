package procview

import (
	"testing"
	"time"
)

func TestParseUptime(t *testing.T) {
	shown := NewUptime().Append(nil, 12345670*time.Millisecond, &Counters{})
	if up, ok := ParseUptime(shown); !ok || up != 12345670*time.Millisecond {
		t.Errorf("%q: %v, %t", shown, up, ok)
	}
	for _, bad := range []string{"", "1.0", "x 1", "-1 0", "1 2 3", "NaN 1", "1e300 0"} {
		if up, ok := ParseUptime([]byte(bad)); ok {
			t.Errorf("%q: %v", bad, up)
		}
	}
}

func TestParseLoad(t *testing.T) {
	var l Load
	l.Add(3, time.Minute)
	shown := NewLoadavg().Append(nil, l, LoadTasks{Running: 1, Total: 2, LastPID: 3})
	got, ok := ParseLoad(shown)
	if again := NewLoadavg().Append(nil, got, LoadTasks{Running: 1, Total: 2, LastPID: 3}); !ok || string(again) != string(shown) {
		t.Errorf("%q became %q", shown, again)
	}
	for _, bad := range []string{"", "1 2 3 4", "1 2 x 1/2 3", "-1 0 0 1/1 1", "Inf 0 0 1/1 1"} {
		if l, ok := ParseLoad([]byte(bad)); ok {
			t.Errorf("%q: %v", bad, l)
		}
	}
}

func FuzzParseShown(f *testing.F) {
	f.Add([]byte("1.00 2.00\n"))
	f.Add([]byte("0.10 0.20 0.30 1/20 300\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if up, ok := ParseUptime(data); ok && up < 0 {
			t.Errorf("%q: %v", data, up)
		}
		if l, ok := ParseLoad(data); ok {
			NewLoadavg().Append(nil, l, LoadTasks{})
		}
	})
}
