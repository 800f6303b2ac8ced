package logs

import (
	"testing"
	"time"
)

// A pod that keeps to its rate loses nothing when the clock is set back, nor
// when its containers' backlogs are read one after the other.
func TestLimiterFollowsLines(t *testing.T) {
	l := newLimiter(RateLimit{LinesPerSecond: 10, Burst: 1})
	lines := func(clock *int64, from time.Time, n int) (passed int) {
		for i := range n {
			if l.allow(clock, from.Add(time.Duration(i)*100*time.Millisecond).UnixNano(), 1) {
				passed++
			}
		}
		return passed
	}
	var one, two int64
	noon := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, part := range []struct {
		what  string
		clock *int64
		from  time.Time
	}{
		{"one container", &one, noon},
		{"its clock set back", &one, noon.Add(-time.Hour)},
		{"another one's backlog", &two, noon.Add(-2 * time.Hour)},
		{"the first one again", &one, noon.Add(-time.Minute)},
	} {
		if n := lines(part.clock, part.from, 1000); n != 1000 {
			t.Errorf("%s: %d of 1000 lines pass at the rate that is allowed", part.what, n)
		}
	}
	// And ten times the rate does not pass, whatever the clock says.
	passed := 0
	for i := range 1000 {
		if l.allow(&two, noon.Add(-3*time.Hour+time.Duration(i)*10*time.Millisecond).UnixNano(), 1) {
			passed++
		}
	}
	if passed > 120 {
		t.Errorf("%d lines pass in 10 seconds, want 110 at most", passed)
	}
}
