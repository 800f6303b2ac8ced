package logs

import (
	"fmt"

	"github.com/truesize/truesize/pkg/logs/join"
)

// summaryEvery is how often dropped lines are summed up, in nanoseconds of the
// lines' own time.
const summaryEvery = 10e9

// A limiter is a pod's token bucket. Its clock is the times of the pod's lines,
// so that a backlog is judged by the rate at which it was written.
type limiter struct {
	bytes, lines float64 // per second; 0 is no limit
	burst        float64 // seconds
	haveBytes    float64
	haveLines    float64
	now          int64 // the latest time of a line
	started      bool
}

func newLimiter(r RateLimit) *limiter {
	if r.BytesPerSecond == 0 && r.LinesPerSecond == 0 {
		return nil
	}
	return &limiter{bytes: float64(r.BytesPerSecond), lines: float64(r.LinesPerSecond), burst: float64(max(r.Burst, 1))}
}

// allow says whether a line of n bytes, written at t, is within the limits.
// Clock holds the time of the container's line before, 0 at first.
func (l *limiter) allow(clock *int64, t int64, n int) bool {
	from := l.now
	if float64(l.now-t) > l.burst*1e9 {
		// The clock was set back, or this container's backlog is older than
		// what was read of another one: its own time is what passes.
		from = max(*clock, t-int64(l.burst*1e9))
	}
	if *clock = t; !l.started {
		l.started, l.now, from = true, t, t
		l.haveBytes, l.haveLines = l.bytes*l.burst, l.lines*l.burst
	}
	if t > from {
		d := float64(t-from) / 1e9
		l.haveBytes = min(l.haveBytes+d*l.bytes, l.bytes*l.burst)
		l.haveLines = min(l.haveLines+d*l.lines, l.lines*l.burst)
	}
	l.now = max(l.now, t)
	// A line larger than the burst passes when the bucket is full.
	if l.bytes > 0 && l.haveBytes < min(float64(n), l.bytes*l.burst) || l.lines > 0 && l.haveLines < 1 {
		return false
	}
	l.haveBytes -= float64(n)
	l.haveLines--
	return true
}

// A dropping is what a chain left out since it last said so.
type dropping struct {
	lines, bytes int64
	sayAt        int64       // the line's time from which to say so again
	last         join.Record // without its text
}

// drop counts a record that the limit leaves out. Every ten seconds a record
// that says so takes one's place.
func (c *chain) drop(r *join.Record) {
	d := &c.dropped
	c.loop.lose(c, lossRateLimit, int64(len(r.Text)), 1)
	d.lines++
	d.bytes += int64(len(r.Text))
	d.last = *r
	d.last.Text = nil
	if r.Time >= d.sayAt || d.sayAt-r.Time > summaryEvery { // the clock was set back
		c.sayDropped()
	}
}

// sayDropped writes the record that says what was dropped, in the place of the
// last one that was.
func (c *chain) sayDropped() {
	d := &c.dropped
	if d.lines == 0 {
		return
	}
	r := d.last
	r.Split, r.Continued, r.Unparsed = false, false, false
	r.Text = fmt.Appendf(nil, "WARN truesize: rate limit of the pod exceeded: %d lines (%d bytes) dropped", d.lines, d.bytes)
	*d = dropping{sayAt: r.Time + summaryEvery}
	c.write(&r)
}
