package attach

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// outcomes is what became of each target.
func outcomes(results []Result) map[string]Outcome {
	m := make(map[string]Outcome)
	for _, r := range results {
		m[r.Target] = r.Outcome
	}
	return m
}

func wantAll(t *testing.T, results []Result, err error, want Outcome) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(viewFiles) {
		t.Errorf("%d results, want one for each of %d files", len(results), len(viewFiles))
	}
	for _, r := range results {
		if r.Outcome != want {
			t.Errorf("%s: %s (%v), want %s", r.Target, r.Outcome, r.Err, want)
		}
	}
}

// wantRefused checks that one target was refused for a reason.
func wantRefused(t *testing.T, results []Result, target string, why error) {
	t.Helper()
	for _, r := range results {
		if r.Target == target {
			if r.Outcome != Refused || !errors.Is(r.Err, why) {
				t.Errorf("%s: %s (%v), want it refused with %q", target, r.Outcome, r.Err, why)
			}
			return
		}
	}
	t.Errorf("no result for %s", target)
}

func wantView(t *testing.T, c *part, id string) {
	t.Helper()
	for _, f := range viewFiles {
		if got, want := c.do("read "+f), id+" "+f+"\n"; got != want {
			t.Errorf("%s reads %.80q, want %q", f, got, want)
		}
	}
}

func wantHost(t *testing.T, c *part) {
	t.Helper()
	if got := c.do("read /proc/meminfo"); !strings.HasPrefix(got, "MemTotal:") {
		t.Errorf("/proc/meminfo reads %.80q, want the kernel's", got)
	}
}

func TestAttachAndDetach(t *testing.T) {
	needRoot(t)
	for name, boot := range map[string]func(*testing.T) *part{
		"container":                     startContainer,
		"container in a user namespace": startUserContainer,
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := startView(t)
			c := boot(t)
			a := attacherOf(dir)
			ctx := t.Context()

			results, err := a.Attach(ctx, c.process(), filesOf(dir, "c1"))
			wantAll(t, results, err, Attached)
			wantView(t, c, "c1")
			if a := c.do("write /proc/meminfo"); !strings.Contains(a, "read-only") {
				t.Errorf("writing: %q, want a read-only file system", a)
			}

			results, err = a.Attach(ctx, c.process(), filesOf(dir, "c1"))
			wantAll(t, results, err, Present)

			results, err = a.Detach(ctx, c.process(), nil)
			wantAll(t, results, err, Detached)
			wantHost(t, c)

			results, err = a.Detach(ctx, c.process(), nil)
			if err != nil || len(results) != 0 {
				t.Errorf("a second detach did %v, %v", results, err)
			}
		})
	}
}

// The thread that enters a namespace must be lost to the process.
func TestCallerStays(t *testing.T) {
	needRoot(t)
	dir, _ := startView(t)
	c := startContainer(t)
	before, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := attacherOf(dir).Attach(t.Context(), c.process(), filesOf(dir, "c1")); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := os.Readlink("/proc/self/ns/mnt"); err != nil || after != before {
		t.Errorf("the process is in %s now (%v), was in %s", after, err, before)
	}
	waitFor(t, "end of the threads that entered", func() bool {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(tasks, func(e os.DirEntry) bool {
			ns, err := os.Readlink("/proc/self/task/" + e.Name() + "/ns/mnt")
			return err == nil && ns != before
		})
	})
}

func TestDetachKeeps(t *testing.T) {
	needRoot(t)
	dir, _ := startView(t)
	c := startContainer(t)
	a := attacherOf(dir)
	if _, err := a.Attach(t.Context(), c.process(), filesOf(dir, "c1")); err != nil {
		t.Fatal(err)
	}
	results, err := a.Detach(t.Context(), c.process(), func(m Mount) bool { return m.Target != "/proc/meminfo" })
	if err != nil || len(results) != 1 || results[0].Outcome != Detached {
		t.Fatalf("detached %v, %v; want /proc/meminfo alone", results, err)
	}
	wantHost(t, c)
	if got := c.do("read /proc/pressure/cpu"); got != "c1 /proc/pressure/cpu\n" {
		t.Errorf("a mount to keep reads %q", got)
	}
}

func TestWrongProcess(t *testing.T) {
	needRoot(t)
	dir, _ := startView(t)
	a := attacherOf(dir)

	c := startContainer(t)
	p := c.process()
	p.StartTicks++
	if _, err := a.Attach(t.Context(), p, filesOf(dir, "c1")); !errors.Is(err, ErrGone) {
		t.Errorf("a later process of the same pid: %v, want %v", err, ErrGone)
	}
	wantHost(t, c)

	p = c.process()
	c.cmd.Process.Kill()
	// It is a zombie until it is waited for, and no process afterwards.
	waitFor(t, "the container's death", func() bool { return exited("/proc", p.PID) })
	if _, err := a.Attach(t.Context(), p, filesOf(dir, "c1")); !errors.Is(err, ErrGone) {
		t.Errorf("a zombie: %v, want %v", err, ErrGone)
	}
	c.cmd.Wait()
	if _, err := a.Attach(t.Context(), p, filesOf(dir, "c1")); !errors.Is(err, ErrGone) {
		t.Errorf("no process: %v, want %v", err, ErrGone)
	}
	if _, err := a.Attach(t.Context(), Process{PID: os.Getpid()}, filesOf(dir, "c1")); !errors.Is(err, ErrHost) {
		t.Errorf("this process: %v, want %v", err, ErrHost)
	}
	// An init with more capabilities than the tests is not even looked at.
	if _, err := a.Attach(t.Context(), Process{PID: 1}, filesOf(dir, "c1")); !errors.Is(err, ErrHost) && !errors.Is(err, os.ErrPermission) {
		t.Errorf("the host's init: %v, want %v", err, ErrHost)
	}
}

// Containers exit at any moment of an attach: nothing but ErrGone may come of
// it, and nothing may be left behind.
func TestAttachWhileExiting(t *testing.T) {
	needRoot(t)
	dir, _ := startView(t)
	a := attacherOf(dir)
	for i := range 20 {
		c := startContainer(t)
		p := c.process()
		go func() {
			time.Sleep(time.Duration(i) * 50 * time.Microsecond)
			c.cmd.Process.Kill()
		}()
		if _, err := a.Attach(t.Context(), p, filesOf(dir, "c1")); err != nil && !errors.Is(err, ErrGone) {
			t.Errorf("attach: %v", err)
		}
		c.cmd.Wait()
	}
	left, err := a.Namespaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range left {
		for _, m := range ns.Views {
			if strings.HasPrefix(m.Root, "/c1") {
				t.Errorf("left in process %d: %+v", ns.Process.PID, m)
			}
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("no %s within 30 s", what)
}
