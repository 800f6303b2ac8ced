package garbage

import (
	"runtime"
	"runtime/debug"
	"testing"
)

const room = 8 << 20

var rubbish [][]byte

// litter leaves n bytes of garbage.
func litter(n int) {
	rubbish = make([][]byte, n/4096)
	for i := range rubbish {
		rubbish[i] = make([]byte, 4096)
	}
	rubbish = nil
}

func cycles() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumGC
}

// Garbage is collected between, and has room until then.
func TestCollector(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	c := newCollector(room, 100)
	c.fixed = false
	runtime.GC()
	c.round()
	n := cycles()
	litter(room / 2)
	if got := cycles(); got != n {
		t.Errorf("%d collections while there was room", got-n)
	}
	c.round()
	if got := cycles(); got != n+1 {
		t.Errorf("%d collections of half the room, want 1", got-n)
	}
	litter(little / 4)
	c.round()
	if got := cycles(); got != n+1 {
		t.Errorf("%d collections of a little", got-n-1)
	}
	// Where they begin by themselves no other is added.
	litter(20 * room)
	n = cycles()
	litter(little * 2)
	c.round()
	if got := cycles(); got != n {
		t.Errorf("%d collections beside those that begin by themselves", got-n)
	}
}

// A large heap grows as it would without.
func TestCollectorOfLargeHeap(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	c := newCollector(room, 100)
	c.fixed = false
	c.makeRoom(1 << 30)
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("GOGC %d", got)
	}
	c.makeRoom(4 << 20)
	if got := debug.SetGCPercent(100); got != 200 {
		t.Errorf("GOGC %d of 4 MiB, want 200", got)
	}
	c.fixed = true
	c.makeRoom(1 << 20)
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("GOGC %d, though the environment has one", got)
	}
}
