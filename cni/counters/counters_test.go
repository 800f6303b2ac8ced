package counters

import (
	"sync"
	"testing"
	"time"
)

func TestLayout(t *testing.T) {
	if len(Ops()) != nOps || len(Codes()) != nCodes || len(Bounds()) != nBuckets-1 || len(Kinds()) != nKinds {
		t.Error("the lists do not have the lengths of the file")
	}
}

func TestCount(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 { // as many processes would: each with a mapping of its own
		wg.Go(func() {
			s, err := Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for range 100 {
				s.Done("ADD", 3*time.Millisecond, 0)
				s.Done("DEL", time.Minute, 11)
				s.Done("DEL", 0, 4711)
				s.Done("NONE", 0, 1)
				s.Conflict()
				s.Collected("route", 2)
				s.Collected("nothing", 2)
			}
		})
	}
	wg.Wait()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := s.Snapshot()
	add, del := got.Ops["ADD"], got.Ops["DEL"]
	if add.Buckets[2] != 800 || add.Sum != 2400*time.Millisecond || len(add.Errors) != 0 {
		t.Errorf("ADD %+v", add)
	}
	if del.Buckets[nBuckets-1] != 800 || del.Buckets[0] != 800 || del.Errors[11] != 800 || del.Errors[999] != 800 {
		t.Errorf("DEL %+v", del)
	}
	if got.Conflicts != 800 || got.Collected["route"] != 1600 || got.Collected["link"] != 0 {
		t.Errorf("%+v", got)
	}
}

func TestNil(t *testing.T) {
	var s *Set
	s.Done("ADD", 0, 0)
	s.Conflict()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
