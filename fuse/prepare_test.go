package fuse

import (
	"slices"
	"testing"
	"time"
)

// asked is a Preparer that notes what it is asked for.
type asked []string

func (a *asked) Prepare(path string) bool {
	*a = append(*a, path)
	return true
}

// TestPreparedReads: what is read at a steady pace is prepared half its bound
// ahead; who prepares is not taken for a reader.
func TestPreparedReads(t *testing.T) {
	const bound = 50 * time.Millisecond
	s := newServer(t, File{Path: "proc/a", Freshness: bound}, File{Path: "proc/b"})
	var got asked
	s.preparing.by = &got
	put(t, s, "c", &script{data: "one\n"})
	n := s.lookupFile(t, "c", "proc/a")
	ask := request(opGetattr, n.id, make([]byte, 16))
	readAt := func(at time.Time) {
		t.Helper()
		n.expire(n.content)
		if _, err := n.current(at); err != nil {
			t.Fatal(err)
		}
		s.seen(ask)
	}
	next := time.Now().Add(bound / 2) // when the fourth read is due
	for i := range 3 {
		if wait := s.prepareDue(); wait >= 0 {
			t.Errorf("after %d reads: something to prepare in %v", i, wait)
		}
		readAt(next.Add(time.Duration(i-3) * time.Second))
		s.seen(request(opGetattr, nodeIDOf(t, s, "c", "proc/b"), nil)) // never out of date
		s.seen(request(opGetattr, n.id, nil))                          // within the bound
	}
	wait := s.prepareDue()
	if !slices.Equal(got, asked{"c/proc/a"}) || wait <= 0 || wait > time.Second {
		t.Fatalf("prepared %q, the next in %v", got, wait)
	}
	readAt(time.Now())                // by the preparer: no reader, and out of step for one
	readAt(next.Add(3 * time.Second)) // the one that was left alone
	if wait := s.prepareDue(); wait < 3*time.Second || len(got) != 1 {
		t.Errorf("after the reader was seen again: prepared %q, the next in %v", got, wait)
	}
	s.Remove("c")
	s.preparing.plan.Set(n.id, time.Now(), time.Second)
	if s.prepareDue(); len(got) != 1 {
		t.Errorf("prepared %q of a container that is gone", got)
	}
}
