package keeper

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/kept"
)

// A machine of its own: the times are the test's.
type machine struct {
	t   *testing.T
	m   *kept.Memory
	w   watch
	now time.Time
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m, err := kept.Create()
	if err != nil {
		t.Fatal(err)
	}
	x := &machine{t: t, m: m, now: time.Unix(1000, 0)}
	x.w.reset(x.now, m)
	return x
}

// run lets time pass in ticks and returns the first complaint.
func (x *machine) run(d time.Duration, each func()) (why string, after time.Duration) {
	for ; after < d; after += tick {
		x.now = x.now.Add(tick)
		each()
		if x.w.tick(x.now) {
			continue
		}
		if why := x.w.hangs(x.now, x.m); why != "" {
			return why, after + tick
		}
	}
	return "", after
}

func (x *machine) request(slot int, unique uint64) {
	s := x.m.Slot(slot)
	binary.LittleEndian.PutUint64(s[8:], unique)
	binary.LittleEndian.PutUint32(s, 56)
}

func TestWatchHealthy(t *testing.T) {
	x := newMachine(t)
	n := uint64(0)
	if why, after := x.run(time.Minute, func() {
		x.m.Beat()
		n++
		x.request(0, n/5+1) // a new request each half second
	}); why != "" {
		t.Errorf("%s after %v", why, after)
	}
}

func TestWatchSilent(t *testing.T) {
	x := newMachine(t)
	why, after := x.run(time.Minute, func() {})
	if why != "no heartbeat" || after < silentFor || after > silentFor+2*tick {
		t.Errorf("%q after %v, want it after %v", why, after, silentFor)
	}
}

func TestWatchStuckRequest(t *testing.T) {
	x := newMachine(t)
	x.request(63, 42)
	why, after := x.run(time.Minute, x.m.Beat)
	if why != "one request takes too long" || after < hangAfter || after > hangAfter+3*tick {
		t.Errorf("%q after %v, want it after %v", why, after, hangAfter)
	}
	x.w.reset(x.now, x.m)
	x.m.Slot(63).Clear()
	if why, _ := x.run(10*time.Second, x.m.Beat); why != "" {
		t.Errorf("with no request: %s", why)
	}
}

// A keeper that was held up itself, or a machine that slept, knows nothing of
// the server.
func TestWatchHeldUp(t *testing.T) {
	x := newMachine(t)
	x.request(1, 7)
	for range 20 {
		x.now = x.now.Add(time.Minute)
		if !x.w.tick(x.now) {
			t.Fatal("not noticed")
		}
		if why, _ := x.run(silentFor-tick, func() {}); why != "" {
			t.Fatalf("right after: %s", why)
		}
	}
}

// The longest a reader can wait is below two seconds: a server stands still
// at the worst moment, dies slowly, and the keeper answers.
func TestTimesAddUp(t *testing.T) {
	for name, sum := range map[string]time.Duration{
		"standing still": max(silentFor, hangAfter) + 2*tick + dieWithin,
		"not coming up":  readySoon + 2*tick,
	} {
		if sum >= 2*time.Second {
			t.Errorf("%s: %v", name, sum)
		}
	}
}
