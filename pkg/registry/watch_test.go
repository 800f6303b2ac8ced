package registry

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// generous is how long an event may take before the test gives up.
const generous = 20 * time.Second

// watchIDs runs a Watch and returns its ids.
func watchIDs(t *testing.T, d *Dir, every time.Duration) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ids, done := make(chan string, 1000), make(chan error)
	s := newScan(d, func(id string) { ids <- id }, func(err error) { t.Errorf("blind: %v", err) })
	go func() { done <- s.run(ctx, every) }()
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

// A node that has no watches left is no reason not to follow the registry.
func TestWatchWithoutInotify(t *testing.T) {
	d := open(t)
	put(t, d, entry("old", 1))
	ctx, cancel := context.WithCancel(context.Background())
	ids, done := make(chan string, 1000), make(chan error)
	none := &os.SyscallError{Syscall: "inotify_init1", Err: unix.EMFILE}
	var told []error
	s := newScan(d, func(id string) { ids <- id }, func(err error) { told = append(told, err) })
	s.open = func(string) (*inotify, error) { return nil, none }
	go func() { done <- s.run(ctx, 20*time.Millisecond) }()
	await(t, d, ids, "old", cpus(1))
	put(t, d, entry("old", 2))
	await(t, d, ids, "old", cpus(2))
	put(t, d, entry("new", 3))
	await(t, d, ids, "new", cpus(3))
	if err := d.Remove("new"); err != nil {
		t.Fatal(err)
	}
	await(t, d, ids, "new", is(ErrNotFound))
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch: %v", err)
	}
	if len(told) != 1 || !errors.Is(told[0], unix.EMFILE) {
		t.Errorf("told %v, want %v once", told, none)
	}
}

// Watches that come free later are used.
func TestWatchWithInotifyAgain(t *testing.T) {
	d := open(t)
	s := newScan(d, func(string) {}, func(error) {})
	defer func() { s.watcher.close() }()
	s.open = func(string) (*inotify, error) { return nil, unix.ENOSPC }
	if next := s.all(time.Hour); time.Until(next) > blindEvery {
		t.Errorf("the next look in %v, want at most %v", time.Until(next), blindEvery)
	}
	s.open = newInotify
	if s.all(time.Hour); s.watcher == nil {
		t.Error("still without watches")
	}
}
