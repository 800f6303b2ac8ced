package logs

import (
	"testing"
	"time"
)

// A container that always writes always has something on its way: it is behind
// by the age of that, not since it was first seen so.
func TestLagSeconds(t *testing.T) {
	now := time.Now()
	ago := func(seconds float64) time.Time { return now.Add(-time.Duration(seconds * float64(time.Second))) }
	for name, c := range map[string]struct {
		size        int64
		since, last time.Time
		want        float64
	}{
		"writes all the time":               {10, ago(3600), ago(0.5), 0.5},
		"nothing is acknowledged any more":  {10, ago(3600), ago(600), 600},
		"was quiet for long, then wrote":    {10, ago(2), ago(3600), 2},
		"nothing was ever acknowledged":     {10, ago(60), time.Unix(0, 0), 60},
		"its last line is of the future":    {10, ago(60), ago(-60), 0},
		"all is acknowledged":               {0, ago(60), ago(60), 0},
		"has just begun, and nobody looked": {10, time.Time{}, time.Unix(0, 0), 0},
	} {
		ch := &chain{files: []*file{{size: c.size}}}
		ch.stats.behindSince, ch.stats.lastAcked = c.since, c.last.UnixNano()
		if got := ch.status(now).LagSeconds; got < c.want-1e-6 || got > c.want+1e-6 {
			t.Errorf("%s: %v s, want %v", name, got, c.want)
		}
	}
}
