package attach

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func anyOwner(Process, string) bool { return true }

// repairOf returns what was done in the namespace of c, to files: the tests'
// containers have the host's mounts as well, with the view's directory.
func repairOf(t *testing.T, c *part, done []Repair) Repair {
	t.Helper()
	for _, r := range done {
		if r.Namespace.Process.PID == c.cmd.Process.Pid {
			r.Results = slices.DeleteFunc(r.Results, func(r Result) bool { return strings.HasSuffix(r.Target, "/view") })
			return r
		}
	}
	t.Fatalf("nothing was repaired in process %d: %+v", c.cmd.Process.Pid, done)
	return Repair{}
}

func TestRepairAfterTheViewDied(t *testing.T) {
	needRoot(t)
	dir, server := startView(t)
	c, user := startContainer(t), startUserContainer(t)
	a := attacherOf(dir)
	for _, p := range []Process{c.process(), user.process()} {
		results, err := a.Attach(t.Context(), p, filesOf(dir, "c2"))
		wantAll(t, results, err, Attached)
	}
	server.stop()
	if got := c.do("read /proc/meminfo"); !strings.Contains(got, "not connected") {
		t.Fatalf("a dead view reads %q", got)
	}
	if _, err := a.Repair(t.Context(), anyOwner); !errors.Is(err, ErrViewDead) {
		t.Errorf("repair with no view: %v, want %v", err, ErrViewDead)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Repair(t.Context(), anyOwner); !errors.Is(err, ErrViewDead) {
		t.Errorf("repair with the view's bare directory: %v, want %v", err, ErrViewDead)
	}
	start(t, "view", dir, server.cmd.SysProcAttr)

	done, err := a.Repair(t.Context(), anyOwner)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*part{c, user} {
		r := repairOf(t, p, done)
		wantAll(t, r.Results, r.Err, Replaced)
		wantView(t, p, "c2")
	}
	done, err = a.Repair(t.Context(), anyOwner)
	if err != nil {
		t.Error(err)
	}
	for _, r := range done { // the copies of the view's directory are locked in user namespaces
		if slices.ContainsFunc(r.Results, func(r Result) bool { return !strings.HasSuffix(r.Target, "/view") }) {
			t.Errorf("a second repair did %+v", r)
		}
	}
	results, err := a.Detach(t.Context(), c.process(), nil)
	wantAll(t, results, err, Detached)
	wantHost(t, c)
}

// What cannot be replaced is taken off: the view does not know the container
// any more, or the mount says it is another container's.
func TestRepairTakesOff(t *testing.T) {
	needRoot(t)
	dir, server := startView(t)
	a := attacherOf(dir)
	c := startContainer(t)
	if _, err := a.Attach(t.Context(), c.process(), filesOf(dir, "c1")); err != nil {
		t.Fatal(err)
	}
	server.stop()
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	start(t, "view", dir, server.cmd.SysProcAttr)
	done, err := a.Repair(t.Context(), func(p Process, id string) bool {
		return p.PID != c.cmd.Process.Pid || id != "c1"
	})
	if err != nil {
		t.Fatal(err)
	}
	r := repairOf(t, c, done)
	wantAll(t, r.Results, r.Err, Detached)
	wantHost(t, c)
}

// Another instance's views are none of this one's business.
func TestOtherInstance(t *testing.T) {
	needRoot(t)
	other, server := startView(t)
	dir, _ := startView(t)
	c := startContainer(t)
	if _, err := attacherOf(other).Attach(t.Context(), c.process(), filesOf(other, "c1")); err != nil {
		t.Fatal(err)
	}
	a := attacherOf(dir)
	results, err := a.Detach(t.Context(), c.process(), nil)
	if err != nil || len(results) != 0 {
		t.Errorf("detached %v, %v", results, err)
	}
	server.stop()
	done, err := a.Repair(t.Context(), anyOwner)
	if err != nil || len(done) != 0 {
		t.Errorf("repaired %v, %v", done, err)
	}
	results, err = a.Attach(t.Context(), c.process(), filesOf(dir, "c1"))
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, results, "/proc/meminfo", ErrOwnMount)
}

// In a nested user namespace the stale mounts are locked: they cannot be taken
// off, and are covered.
func TestRepairLocked(t *testing.T) {
	needRoot(t)
	dir, server := startView(t)
	a := attacherOf(dir)
	outer := startContainer(t)
	if _, err := a.Attach(t.Context(), outer.process(), filesOf(dir, "c1")); err != nil {
		t.Fatal(err)
	}
	inner := startNested(t, outer)
	server.stop()
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	start(t, "view", dir, server.cmd.SysProcAttr)
	if _, err := a.Repair(t.Context(), anyOwner); err != nil {
		t.Fatal(err)
	}
	wantView(t, outer, "c1")
	wantView(t, inner, "c1")
	if _, err := a.Repair(t.Context(), anyOwner); err != nil {
		t.Fatal(err)
	}
	wantView(t, inner, "c1")
	if results, err := a.Attach(t.Context(), inner.process(), filesOf(dir, "c1")); err != nil || outcomes(results)["/proc/meminfo"] != Present {
		t.Errorf("a covered mount: %v, %v; want it present", results, err)
	}
}

// A container mounts a file system of its own that says it is a view's and
// never answers. It is taken away without being asked.
func TestRepairForged(t *testing.T) {
	needRoot(t)
	dir, _ := startView(t)
	c := startContainer(t)
	c.must("tmpfs /mnt")
	c.must("mkdir /mnt/d")
	c.must("hang /mnt/d " + Source(filepath.Dir(dir)))
	a := attacherOf(dir)
	done, err := a.Repair(t.Context(), anyOwner)
	if err != nil {
		t.Fatal(err)
	}
	r := repairOf(t, c, done)
	if r.Err != nil || len(r.Results) != 1 || r.Results[0].Outcome != Detached {
		t.Errorf("a forged view: %+v, want it taken off", r)
	}
}

func TestNamespaces(t *testing.T) {
	needRoot(t)
	dir, _ := startView(t)
	a := attacherOf(dir)
	c := startContainer(t)
	if _, err := a.Attach(t.Context(), c.process(), filesOf(dir, "c1")); err != nil {
		t.Fatal(err)
	}
	list, err := a.Namespaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range list {
		if ns.Process.PID != c.cmd.Process.Pid {
			continue
		}
		// The private copy of the host's mount is seen as well: it is whole.
		files := 0
		for _, m := range ns.Views {
			if !m.IsWhole() && m.Container() == "c1" {
				files++
			}
		}
		if files != len(viewFiles) {
			t.Errorf("%d files mounted, want %d: %+v", files, len(viewFiles), ns.Views)
		}
		return
	}
	t.Errorf("the container's namespace is not in %+v", list)
}
