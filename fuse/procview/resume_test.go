package procview

import (
	"math"
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

func TestStoredLoad(t *testing.T) {
	var l Load
	l.Add(3, time.Minute)
	stored := make([]byte, LoadSize)
	if got, _, ok := UnmarshalLoad(stored); ok {
		t.Errorf("zeros are %v", got)
	}
	l.Marshal(stored, 7*time.Second)
	if got, at, ok := UnmarshalLoad(stored); !ok || got != l || at != 7*time.Second {
		t.Errorf("stored %v at 7s, got %v at %v, %t", l, got, at, ok)
	}
	if _, _, ok := UnmarshalLoad(stored[:LoadSize-1]); ok {
		t.Error("a load that is cut short was taken")
	}
	for i := range stored {
		stored[i] ^= 1
		if got, _, ok := UnmarshalLoad(stored); ok {
			t.Errorf("byte %d is another, and was taken: %v", i, got)
		}
		stored[i] ^= 1
	}
	for _, bad := range []float64{-1, math.NaN(), math.Inf(1), 1 << 23} {
		Load{avg: [3]float64{0, 0, bad}}.Marshal(stored, 0)
		if got, _, ok := UnmarshalLoad(stored); ok {
			t.Errorf("%v was taken", got)
		}
	}
}

func FuzzParseShown(f *testing.F) {
	f.Add([]byte("1.00 2.00\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if up, ok := ParseUptime(data); ok && up < 0 {
			t.Errorf("%q: %v", data, up)
		}
		if l, _, ok := UnmarshalLoad(data); ok {
			NewLoadavg().Append(nil, l, LoadTasks{})
		}
	})
}
