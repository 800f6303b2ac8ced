package registry

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// generous is how long an event may take before the test gives up.
const generous = 20 * time.Second

// watchIDs runs a Watch and returns its ids.
func watchIDs(t *testing.T, d *Dir, every time.Duration) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ids, done := make(chan string, 1000), make(chan error)
	go func() { done <- d.watch(ctx, every, func(id string) { ids <- id }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: %v", err)
		}
	})
	return ids
}

// await waits until id is named and what the registry says of it satisfies ok.
func await(t *testing.T, d *Dir, ids <-chan string, id string, ok func(*Container, error) bool) {
	t.Helper()
	deadline := time.After(generous)
	for {
		select {
		case got := <-ids:
			if c, err := d.Get(id); got == id && ok(c, err) {
				return
			}
		case <-deadline:
			t.Fatalf("%s was not named", id)
		}
	}
}

func cpus(n int) func(*Container, error) bool {
	return func(c *Container, err error) bool { return err == nil && c.Decision.Size.CPUs == n }
}

func is(target error) func(*Container, error) bool {
	return func(_ *Container, err error) bool { return errors.Is(err, target) }
}

func TestWatch(t *testing.T) {
	for name, every := range map[string]time.Duration{
		"by events":          time.Hour,
		"and frequent scans": 20 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			put(t, d, entry("old", 1))
			ids := watchIDs(t, d, every)
			await(t, d, ids, "old", cpus(1))
			put(t, d, entry("new", 2))
			await(t, d, ids, "new", cpus(2))
			put(t, d, entry("old", 3))
			await(t, d, ids, "old", cpus(3))
			write(t, d, "new", "{")
			await(t, d, ids, "new", is(ErrCorrupt))
			put(t, d, entry("new", 4))
			await(t, d, ids, "new", cpus(4))
			if err := d.Remove("new"); err != nil {
				t.Fatal(err)
			}
			await(t, d, ids, "new", is(ErrNotFound))
			put(t, d, entry("new", 5))
			await(t, d, ids, "new", cpus(5))
		})
	}
}

// The entries of a registry that is removed whole and made anew are seen.
func TestWatchDirectoryMadeAnew(t *testing.T) {
	d := open(t)
	put(t, d, entry("c1", 1))
	ids := watchIDs(t, d, 20*time.Millisecond)
	await(t, d, ids, "c1", cpus(1))
	if err := os.RemoveAll(d.Path()); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(d.Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, d, entry("c2", 2))
	await(t, d, ids, "c2", cpus(2))
}

// Names that are no ids, and files beside the entry, name nothing.
func TestWatchIgnoresTheRest(t *testing.T) {
	d := open(t)
	put(t, d, entry("c1", 1))
	ids := watchIDs(t, d, time.Hour)
	await(t, d, ids, "c1", cpus(1))
	if err := os.Mkdir(filepath.Join(d.Path(), ".tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Path(), "c1", "counters"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	put(t, d, entry("last", 2))
	for id := range ids {
		if id == "last" {
			return
		}
		t.Errorf("%q was named", id)
	}
}

// A burst larger than the kernel's queue of events is not lost.
func TestWatchBurst(t *testing.T) {
	d := open(t)
	ids := watchIDs(t, d, 50*time.Millisecond)
	const n = 300
	for i := range n {
		put(t, d, entry("c"+string(rune('a'+i%26))+string(rune('a'+i/26)), 1))
	}
	seen := make(map[string]bool)
	deadline := time.After(generous)
	for len(seen) < n {
		select {
		case id := <-ids:
			seen[id] = true
		case <-deadline:
			t.Fatalf("%d of %d containers were named", len(seen), n)
		}
	}
}
