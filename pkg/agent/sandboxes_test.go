package agent

import "testing"

// TestSandboxes: the set follows the runtime's events, and is not known
// before the runtime has told of all sandboxes, nor once it is disconnected.
func TestSandboxes(t *testing.T) {
	s := &sandboxes{}
	want := func(ok bool, ids ...string) {
		t.Helper()
		got, known := s.all(t.Context())
		if known != ok || len(got) != len(ids) {
			t.Errorf("got %v, %v; want %v, %v", got, known, ids, ok)
		}
		for _, id := range ids {
			if !got[id] {
				t.Errorf("%s is missing in %v", id, got)
			}
		}
	}
	want(false)
	s.Added("early") // its own runtime's full list comes after it
	want(false)
	s.Known(nil)
	want(true) // none is an answer
	s.Known([]string{"a", "b"})
	s.Added("c")
	s.Removed("a")
	s.Removed("never there")
	want(true, "b", "c")
	s.Unknown()
	s.Removed("b")
	want(false)
}
