package keeper

import (
	"time"

	"github.com/truesize/truesize/fuse/kept"
)

// A watch tells when a server stands still: its heart does not beat, or it is
// at one request for too long.
type watch struct {
	last   time.Time // tick
	beat   uint64
	beatAt time.Time
	at     [kept.Slots]uint64 // request in each slot
	since  [kept.Slots]time.Time
}

func (w *watch) reset(now time.Time, m *kept.Memory) {
	*w = watch{last: now, beat: m.Heartbeat(), beatAt: now}
}

// tick reports whether the keeper itself was held up, or the machine asleep:
// then nothing can be said of the server before a while.
func (w *watch) tick(now time.Time) (late bool) {
	late = now.Sub(w.last) > 4*tick
	w.last = now
	if late {
		w.beatAt = now
		for i := range w.since {
			w.since[i] = now
		}
	}
	return late
}

// hangs returns why the server is thought to stand still, empty when it is
// not.
func (w *watch) hangs(now time.Time, m *kept.Memory) string {
	if b := m.Heartbeat(); b != w.beat {
		w.beat, w.beatAt = b, now
	}
	for i := range kept.Slots {
		if u := m.Slot(i).Unique(); u != w.at[i] {
			w.at[i], w.since[i] = u, now
		}
	}
	if now.Sub(w.beatAt) > silentFor {
		return "no heartbeat"
	}
	for i, u := range w.at {
		if u != 0 && now.Sub(w.since[i]) > hangAfter {
			return "one request takes too long"
		}
	}
	return ""
}
