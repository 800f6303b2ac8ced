package viewd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"golang.org/x/sys/unix"
)

// started gives the directory of container id the mtime that the view's server
// gives it: when it started.
func started(t *testing.T, c *Client, id string, at int64) {
	t.Helper()
	if err := os.Chtimes(filepath.Join(c.Dir(), id), time.Unix(at, 0), time.Unix(at, 0)); err != nil {
		t.Fatal(err)
	}
}

// lock takes the view's lock, as its server does.
func lock(t *testing.T, c *Client) (fd int) {
	t.Helper()
	fd, err := unix.Open(filepath.Join(c.runDir, lockName), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	return fd
}

// seen returns a view whose server is at work and has shown the files of
// container id, with the descriptor of its lock.
func seen(t *testing.T) (c *Client, lockFD int) {
	t.Helper()
	c = testView(t, "id/proc/stat")
	started(t, c, "id", 1)
	fd := lock(t, c)
	if err := keeper.SayAtWork(fd, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := check(t, c, "id", "/proc/stat"); err != nil {
		t.Fatal(err)
	}
	return c, fd
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

// What one container of a server has, all have, for as long as the server is at
// work; another one is asked, and for a file that no container has shown.
func TestCheckAsksAServerOnce(t *testing.T) {
	c := testView(t, "whole/proc/stat", "whole/proc/uptime", "half/proc/stat")
	if err := os.MkdirAll(filepath.Join(c.Dir(), "bare"), 0o700); err != nil {
		t.Fatal(err)
	}
	fd := lock(t, c)
	for _, step := range []struct {
		id     string
		server int64 // its start, as it says with its beats; 0: it does not
		paths  []string
		ok     bool
	}{
		{"bare", 1, []string{"/proc/stat"}, false},
		{"half", 1, []string{"/proc/stat"}, true},
		{"bare", 1, []string{"/proc/stat"}, true}, // not asked for
		{"gone", 1, []string{"/proc/stat"}, true},
		{"bare", 1, []string{"/proc/stat", "/proc/uptime"}, false},
		{"whole", 1, []string{"/proc/uptime"}, true},
		{"bare", 1, []string{"/proc/stat", "/proc/uptime"}, true},
		{"bare", 0, []string{"/proc/stat"}, false},
		{"bare", 2, []string{"/proc/stat"}, false},
		{"whole", 2, []string{"/proc/stat"}, true},
		{"gone", 2, []string{"/proc/stat"}, true},
		{"bare", 2, []string{"/proc/uptime"}, false}, // what another server had
	} {
		var err error
		if step.server == 0 {
			err = unix.Ftruncate(fd, 0)
		} else {
			for _, id := range []string{"whole", "half", "bare"} {
				started(t, c, id, step.server)
			}
			err = keeper.SayAtWork(fd, time.Unix(step.server, 0))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := check(t, c, step.id, step.paths...); (err == nil) != step.ok {
			t.Errorf("%+v: %v", step, err)
		}
	}
}

// A server that is not at work any more is asked, whatever it has shown.
func TestCheckOfADeadServer(t *testing.T) {
	c, fd := seen(t)
	if err := check(t, c, "gone", "/proc/stat"); err != nil {
		t.Errorf("asked while it is at work: %v", err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	if check(t, c, "gone", "/proc/stat") == nil {
		t.Error("nobody holds the lock, and nothing is asked")
	}
}

// Where another file system is at the view's place, what was there does not
// count.
func TestCheckWithoutTheView(t *testing.T) {
	c, _ := seen(t)
	if err := unix.Mount("truesize-test", c.Dir(), "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(c.Dir(), unix.MNT_DETACH)
	if check(t, c, "id", "/proc/stat") == nil {
		t.Error("a container that is not there is")
	}
}

// Containers that are created at once wait for each other rather than take the
// view for silent.
func TestManyQuestionsAtOnce(t *testing.T) {
	q := newQuestions()
	running, answer := make(chan struct{}), make(chan struct{})
	errs := make(chan error, 4*maxAsked)
	for range cap(errs) {
		go func() {
			errs <- q.ask(t.Context(), time.Minute, func() error {
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
	c.checkWithin = 20 * time.Millisecond
	for range cap(c.questions.places) {
		c.questions.places <- struct{}{}
	}
	if check(t, c, "id", "/proc/stat") == nil {
		t.Error("it was answered")
	}
}

// A container whose files are known is looked up all the same, for the runtime.
func TestWarmUpIsBounded(t *testing.T) {
	c, _ := seen(t)
	for range cap(c.warmUp) {
		c.warmUp <- struct{}{} // one hangs
	}
	for range 3 {
		if err := check(t, c, "id", "/proc/stat"); err != nil {
			t.Error(err)
		}
	}
}
