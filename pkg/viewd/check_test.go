package viewd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// started gives the directory of container id the mtime that the view's server
// gives it: when it started.
func started(t *testing.T, c *Client, id string, at int64) {
	t.Helper()
	if err := os.Chtimes(filepath.Join(c.Dir(), id), time.Unix(at, 0), time.Unix(at, 0)); err != nil {
		t.Fatal(err)
	}
}

// check checks a container of one file.
func check(t *testing.T, c *Client, id string, paths ...string) error {
	t.Helper()
	err := c.Check(t.Context(), id, paths)
	if err != nil && !errors.Is(err, ErrSilent) {
		t.Errorf("%s: %v: want a silent view", id, err)
	}
	return err
}

func TestCheck(t *testing.T) {
	c := testView(t, "id/proc/stat", "id/proc/meminfo", "file")
	if err := check(t, c, "id", "/proc/stat", "/proc/meminfo"); err != nil {
		t.Error(err)
	}
	for id, path := range map[string]string{"id": "/proc/uptime", "other": "/proc/stat"} {
		if check(t, c, id, path) == nil {
			t.Errorf("%s%s is there", id, path)
		}
	}
	if check(t, c, "file") == nil {
		t.Error("a file is a container")
	}
}

// What one container of a server has, all have; another server is asked anew,
// and a file that no container has shown is.
func TestCheckAsksAServerOnce(t *testing.T) {
	c := testView(t, "whole/proc/stat", "whole/proc/uptime", "half/proc/stat")
	if err := os.MkdirAll(filepath.Join(c.Dir(), "bare"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		id    string
		at    int64 // the server's start
		paths []string
		ok    bool
	}{
		{"bare", 1, []string{"/proc/stat"}, false},
		{"half", 1, []string{"/proc/stat"}, true},
		{"bare", 1, []string{"/proc/stat"}, true}, // not asked for
		{"bare", 1, []string{"/proc/stat", "/proc/uptime"}, false},
		{"whole", 1, []string{"/proc/uptime"}, true},
		{"bare", 1, []string{"/proc/stat", "/proc/uptime"}, true},
		{"gone", 1, []string{"/proc/stat"}, false},
		{"bare", 2, []string{"/proc/stat"}, false},
		{"whole", 2, []string{"/proc/stat"}, true},
		{"bare", 2, []string{"/proc/uptime"}, false}, // what another server had
	} {
		if step.id != "gone" {
			started(t, c, step.id, step.at)
		}
		if err := check(t, c, step.id, step.paths...); (err == nil) != step.ok {
			t.Errorf("%+v: %v", step, err)
		}
	}
}

// Containers that are created at once wait for each other rather than take the
// view for silent.
func TestManyQuestionsAtOnce(t *testing.T) {
	q := newQuestions(time.Minute)
	running, answer := make(chan struct{}), make(chan struct{})
	errs := make(chan error, 4*maxAsked)
	for range cap(errs) {
		go func() {
			errs <- q.ask(t.Context(), func() error {
				running <- struct{}{}
				<-answer
				return nil
			})
		}()
	}
	for range maxAsked { // no more run at once: the others wait, or have failed
		<-running
	}
	select {
	case <-running:
		t.Errorf("more than %d at once", maxAsked)
	case err := <-errs:
		t.Errorf("with %d under way: %v", maxAsked, err)
	case <-time.After(50 * time.Millisecond):
	}
	close(answer)
	for range cap(errs) - maxAsked {
		select {
		case <-running:
		case err := <-errs:
			if err != nil {
				t.Fatal(err)
			}
			<-running
		}
	}
}

// A full house is silent in time.
func TestCheckWithoutAPlace(t *testing.T) {
	c := testView(t, "id/proc/stat")
	c.questions.deadline = 20 * time.Millisecond
	for range cap(c.questions.places) {
		c.questions.places <- struct{}{}
	}
	if check(t, c, "id", "/proc/stat") == nil {
		t.Error("it was answered")
	}
}

// A container whose files are known is looked up all the same, for the runtime.
func TestWarmUpIsBounded(t *testing.T) {
	c := testView(t, "id/proc/stat")
	for range cap(c.warmUp) {
		c.warmUp <- struct{}{} // one hangs
	}
	for range 3 {
		if err := check(t, c, "id", "/proc/stat"); err != nil {
			t.Error(err)
		}
	}
}
