package logs

import (
	"testing"
	"time"
)

// Memory is given back once after a burst, when nothing has come for a while,
// and not at every pause.
func TestRest(t *testing.T) {
	cfg := Config{Sources: []Source{{Kind: "files", Root: t.TempDir()}}, Sink: "stdout"}
	l := newLoop(cfg.withDefaults(t.TempDir()), Options{}, newMemSink(), 1<<20)
	l.now = time.Unix(1000, 0)
	wantNext := func(what string, want time.Time) {
		t.Helper()
		if next, ok := l.rest(); ok == want.IsZero() || !next.Equal(want) && ok {
			t.Errorf("%s: next at %v (%v), want %v", what, next, ok, want)
		}
	}
	wantNext("nothing was read", time.Time{})

	l.quietSince = time.Time{}
	e := l.newEntry(&chain{loop: l}, 1)
	l.buffered = int64(cap(e.chunk.Buf))
	wantNext("a record is on its way", time.Time{})
	l.bufs, l.buffered = [][]byte{e.chunk.Buf}, 0
	wantNext("it is delivered", l.now.Add(restAfter))
	if l.bufs != nil {
		t.Error("buffers are kept")
	}
	l.now = l.now.Add(restAfter)
	wantNext("a while later", time.Time{})
	if l.rested != l.now || l.unrested {
		t.Errorf("rested at %v, want %v", l.rested, l.now)
	}

	first := l.now
	l.newEntry(&chain{loop: l}, 1)
	l.active = []*chain{{}}
	wantNext("busy again", time.Time{})
	l.active = nil
	wantNext("soon after the first time", first.Add(restEvery))
	l.now = first.Add(restEvery)
	wantNext("a minute after the first time", time.Time{})
	if l.rested != l.now {
		t.Errorf("rested at %v, want %v", l.rested, l.now)
	}
}
