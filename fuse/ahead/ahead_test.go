package ahead

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestRhythm(t *testing.T) {
	for name, c := range map[string]struct {
		gaps []time.Duration // between the reads that were seen
		want time.Duration   // after the last
	}{
		"first":              {nil, 0},
		"second":             {[]time.Duration{time.Second}, 0},
		"third":              {[]time.Duration{time.Second, time.Second}, time.Second},
		"give or take":       {[]time.Duration{time.Second, 1010 * ms}, 1010 * ms},
		"out of step":        {[]time.Duration{time.Second, 1011 * ms}, 0},
		"after three unseen": {[]time.Duration{time.Second, time.Second, 4004 * ms}, 1001 * ms},
		"held up":            {[]time.Duration{time.Second, 1002 * ms, 1500 * ms}, 1002 * ms},
		"in step again":      {[]time.Duration{time.Second, time.Second, 1500 * ms, 4 * time.Second}, time.Second},
		"held up twice":      {[]time.Duration{time.Second, time.Second, 1500 * ms, 1300 * ms}, 0},
		"twice, not in turn": {[]time.Duration{time.Second, time.Second, 1500 * ms, 1000 * ms, 1500 * ms}, time.Second},
		"after four":         {[]time.Duration{time.Second, time.Second, 5 * time.Second, 5 * time.Second}, 0},
		"back in step":       {[]time.Duration{time.Second, 700 * ms, time.Second, time.Second}, time.Second},
		"too fast":           {[]time.Duration{499 * ms, 499 * ms, 499 * ms}, 0},
		"too slow":           {[]time.Duration{121 * time.Second, 121 * time.Second}, 0},
		"two in turn":        {[]time.Duration{600 * ms, 900 * ms, 600 * ms, 900 * ms}, 0},
		"at once":            {[]time.Duration{time.Second, 0}, 0},
	} {
		var r Rhythm
		now := time.Now()
		got := r.Seen(now, 10*ms)
		for _, g := range c.gaps {
			now = now.Add(g)
			got = r.Seen(now, 10*ms)
		}
		if got != c.want {
			t.Errorf("%s: period %v, want %v", name, got, c.want)
		}
	}
}

func TestPlan(t *testing.T) {
	var p Plan[string]
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	wantWait := func(now, want time.Duration) {
		t.Helper()
		if key, wait, ok := p.Due(at(now), 20*ms); ok || wait != want {
			t.Errorf("at %v: %q, wait %v, %t; want to wait %v", now, key, wait, ok, want)
		}
	}
	wantDue := func(now time.Duration, want string) {
		t.Helper()
		if key, _, ok := p.Due(at(now), 20*ms); !ok || key != want {
			t.Errorf("at %v: %q, %t; want %q", now, key, ok, want)
		}
	}
	wantWait(0, -1)
	p.Set("a", at(100*ms), time.Second)
	p.Set("b", at(50*ms), 2*time.Second)
	wantWait(0, 50*ms)
	wantDue(60*ms, "b")
	wantWait(60*ms, 40*ms)
	wantDue(120*ms, "a")
	wantWait(120*ms, 980*ms)
	wantWait(1121*ms, 929*ms) // too late for a's second
	p.Set("a", at(1500*ms), 100*ms)
	for _, now := range []time.Duration{1500, 1600, 1700} {
		wantDue(now*ms, "a")
	}
	wantDue(2050*ms, "b")
	wantDue(4050*ms, "b")
	wantWait(5000*ms, -1) // each was prepared three times
}

func TestPlanIsBounded(t *testing.T) {
	var p Plan[int]
	now := time.Now()
	for i := range 3 * MaxPlanned {
		p.Set(i, now, time.Second)
	}
	n := 0
	for {
		if _, _, ok := p.Due(now, 0); !ok {
			break
		}
		n++
	}
	if n != MaxPlanned {
		t.Errorf("%d files planned, want %d", n, MaxPlanned)
	}
	p.Set(0, now, time.Minute) // in its own place
	if len(p.queue) != MaxPlanned || len(p.byKey) != MaxPlanned {
		t.Errorf("%d and %d in the plan", len(p.queue), len(p.byKey))
	}
}
