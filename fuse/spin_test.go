package fuse

import (
	"os"
	"testing"
	"time"
)

// pipe returns a descriptor with nothing to read.
func pipe(t *testing.T) (fd int, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return int(r.Fd()), w
}

func TestSpinnerIsBounded(t *testing.T) {
	fd, w := pipe(t)
	var s spinner
	for range 2 * int(spinSaved/spinFor) {
		s.wait(fd)
	}
	// With what a slow machine adds to the last look.
	if s.spent < spinSaved {
		t.Fatalf("looked for %v, want until %v are spent", s.spent, spinSaved)
	}
	spent := s.spent
	s.wait(fd)
	if s.spent > spent {
		t.Errorf("looked for %v more with its share spent", s.spent-spent)
	}
	s.since = s.since.Add(-time.Hour) // an hour without a request
	s.wait(fd)
	if s.spent == 0 || s.spent > spent {
		t.Errorf("spent %v after an hour, want one look", s.spent)
	}
	if _, err := w.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	s.busy.Store(true)
	spent = s.spent
	s.wait(fd)
	if s.spent != spent {
		t.Error("two threads looked at once")
	}
}
