// Package ahead foresees when a file that is read at a steady pace, as
// monitors read, is read next: so that what the reader finds can be prepared
// while it still sleeps. It is pure arithmetic over times that it is given,
// and imports the standard library only.
package ahead

import "time"

// A pace is followed from MinPeriod on, under which readers come about as
// often as snapshots are made, up to MaxPeriod.
const (
	MinPeriod = 500 * time.Millisecond
	MaxPeriod = 2 * time.Minute
)

// Unseen is the number of reads in a row that are prepared. Whoever finds a
// prepared file asks for nothing, and so is not seen: the read after these is
// left alone, to learn whether there is still a reader, and when it comes.
const Unseen = 3

// A Rhythm is what is known of the readers of one file. Its zero value is that
// of a file nobody has read.
type Rhythm struct {
	last   time.Time
	period time.Duration // 0: none, or not between the bounds
	kept   bool          // the period, by the last read
}

// Seen takes note of a read at now that found nothing prepared. It returns the
// period of the reads, 0 unless this one came when it was foreseen, give or
// take the slack. One that did not, after one that did, was held up: the period
// counts on, from that read.
func (r *Rhythm) Seen(now time.Time, slack time.Duration) time.Duration {
	gap, first := now.Sub(r.last), r.last.IsZero()
	r.last = now
	if first {
		return 0
	}
	if r.period > 0 {
		steps := (gap + r.period/2) / r.period
		if steps >= 1 && steps <= Unseen+1 && (gap-steps*r.period).Abs() <= slack {
			r.period, r.kept = gap/steps, true
			return r.period
		}
		if r.kept {
			r.kept = false
			return r.period
		}
	}
	if r.period = gap; gap < MinPeriod || gap > MaxPeriod {
		r.period = 0
	}
	return 0
}
