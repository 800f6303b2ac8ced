package registry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func create(t *testing.T, d *Dir, c *Container) {
	t.Helper()
	if err := d.Create(c, 8); err != nil {
		t.Fatal(err)
	}
}

func withShim(id string, cpus int) *Container {
	c := entry(id, cpus)
	c.Shim, c.Env = "/dev/truesize/x/libtruesize.so", []string{"NUM_CPUS"}
	return c
}

func page(t *testing.T, d *Dir, id string) SizePage {
	t.Helper()
	m, err := d.MapSizePage(id)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	return m.SizePage()
}

func TestCreate(t *testing.T) {
	d := open(t)
	create(t, d, withShim("c1", 2))
	if p := page(t, d, "c1"); p.CPUs != 2 || p.InjectedCPUs != 2 || p.PossibleCPUs != 8 {
		t.Errorf("page %+v", p)
	}
	if c, err := d.Get("c1"); err != nil || c.Decision.Size.CPUs != 2 {
		t.Errorf("entry %+v, %v", c, err)
	}
	create(t, d, entry("c2", 3))
	if _, err := d.MapSizePage("c2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a page without a shim: %v", err)
	}
	for path, want := range map[string]os.FileMode{"": 0o755, entryFile: 0o644, sizePageFile: 0o644} {
		if fi, err := os.Stat(filepath.Join(d.Path(), "c1", path)); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", path, fi.Mode(), err)
		}
	}
	if list, err := os.ReadDir(filepath.Join(d.Path(), stagingDir)); err != nil || len(list) != 0 {
		t.Errorf("left behind: %v, %v", list, err)
	}
}

// A container that is there is replaced; what its programs map stays the same
// file, and so does what they were created with.
func TestCreateAgain(t *testing.T) {
	d := open(t)
	create(t, d, withShim("c1", 2))
	m, err := d.MapSizePage("c1")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	create(t, d, withShim("c1", 4))
	if p := m.SizePage(); p.CPUs != 4 || p.InjectedCPUs != 2 {
		t.Errorf("page %+v", p)
	}
	if c, err := d.Get("c1"); err != nil || c.Decision.Size.CPUs != 4 {
		t.Errorf("entry %+v, %v", c, err)
	}
	if list, err := os.ReadDir(filepath.Join(d.Path(), stagingDir)); err != nil || len(list) != 0 {
		t.Errorf("left behind: %v, %v", list, err)
	}
}

func TestCreateRefused(t *testing.T) {
	d := open(t)
	if err := d.Create(entry("../c1", 1), 0); !errors.Is(err, ErrBadID) {
		t.Errorf("bad id: %v", err)
	}
	if err := d.Create(withShim("c1", 0), 0); err == nil {
		t.Error("a page of no CPU was written")
	}
	if ids, err := d.IDs(); err != nil || len(ids) != 0 {
		t.Errorf("created: %v, %v", ids, err)
	}
}

// An empty directory, which a writer has left that was killed, is no obstacle.
func TestCreateOverEmptyDirectory(t *testing.T) {
	d := open(t)
	if err := os.Mkdir(filepath.Join(d.Path(), "c1"), 0o755); err != nil {
		t.Fatal(err)
	}
	create(t, d, withShim("c1", 2))
	if c, err := d.Get("c1"); err != nil || c.Decision.Size.CPUs != 2 {
		t.Errorf("entry %+v, %v", c, err)
	}
}

func TestRemoveUnfinished(t *testing.T) {
	d := open(t)
	if err := d.RemoveUnfinished(0); err != nil {
		t.Errorf("without anything: %v", err)
	}
	tmp, err := d.stage()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tmp, entryFile), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveUnfinished(time.Hour); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(tmp); err != nil {
		t.Errorf("one that may be in use was removed: %v", err)
	}
	if err := d.RemoveUnfinished(0); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(tmp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("not removed: %v", err)
	}
}

// A reader never sees a container without its page.
func TestCreateIsWhole(t *testing.T) {
	d := open(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300 {
			if err := d.Create(withShim(fmt.Sprint("c", i), 1+i%4), 8); err != nil {
				t.Error(err)
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		ids, err := d.IDs()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if c, err := d.Get(id); err != nil || page(t, d, id).CPUs != c.Decision.Size.CPUs {
				t.Fatalf("%s: %v", id, err)
			}
		}
	}
}

// A new container is one event, and its reader is told once.
func TestWatchCreate(t *testing.T) {
	d := open(t)
	create(t, d, entry("first", 1)) // makes the staging directory
	ids := watchIDs(t, d, time.Hour)
	await(t, d, ids, "first", cpus(1))
	create(t, d, withShim("c1", 2))
	await(t, d, ids, "c1", cpus(2))
	put(t, d, entry("c1", 3))
	await(t, d, ids, "c1", cpus(3))
	put(t, d, entry("last", 1))
	if id := <-ids; id != "last" {
		t.Errorf("%q was named again", id)
	}
}
