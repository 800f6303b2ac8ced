package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestResize checks that a running container sees its new limits without a
// restart, up and down.
func TestResize(t *testing.T) {
	c := run(t, small())
	wantSize(t, c, 1, 256)
	for _, to := range []struct {
		milli     int64
		cpus, mib int
	}{{2000, 2, 512}, {500, 1, 128}} {
		if err := c.Resize(t.Context(), to.milli, int64(to.mib)<<20); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			cpus, mem := sh(t, c, countCPUs), sh(t, c, memTotal)
			if cpus != fmt.Sprint(to.cpus) || mem != fmt.Sprint(to.mib<<10) {
				return fmt.Errorf("%s CPUs, %s kB after a resize to %d and %d MiB", cpus, mem, to.cpus, to.mib)
			}
			return nil
		})
	}
}

// TestRemove checks that a removed container leaves no entry and no view.
func TestRemove(t *testing.T) {
	c, err := node.Run(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	entry := filepath.Join(node.RunDir(), "containers", c.ID)
	if _, err := os.Stat(entry); err != nil {
		t.Error(err)
	}
	if err := c.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{entry, filepath.Join(node.RunDir(), "view", c.ID)} {
		eventually(t, func() error {
			// From a subprocess: a test does not read the view itself.
			if out := hostSh(t, "test -e "+path+" && echo there || echo gone"); out != "gone" {
				return fmt.Errorf("%s is %s", path, out)
			}
			return nil
		})
	}
}

// TestFiftyAtOnce creates 50 containers of different sizes at once and
// checks that each sees its own.
func TestFiftyAtOnce(t *testing.T) {
	const count = 50
	var (
		wg   sync.WaitGroup
		errs = make([]error, count)
	)
	for i := range count {
		wg.Go(func() { errs[i] = oneOfMany(t, 64+i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// oneOfMany runs a container of its size in MiB, checks it and removes it.
func oneOfMany(t *testing.T, mib int) (err error) {
	spec := small()
	spec.Memory = int64(mib) << 20
	c, err := node.Run(t.Context(), spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Remove(t.Context())) }()
	out, err := c.Shell(t.Context(), memTotal+"; "+countCPUs)
	if want := fmt.Sprintf("%d\n1", mib<<10); err == nil && out != want {
		err = fmt.Errorf("container of %d MiB sees %q, want %q", mib, out, want)
	}
	return err
}

// TestCreatedNotStarted checks that a container has its entry, so its mounts
// can be made, before it starts, and that one that never starts is forgotten.
func TestCreatedNotStarted(t *testing.T) {
	c, err := node.Create(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	entry := filepath.Join(node.RunDir(), "containers", c.ID)
	if _, err := os.Stat(entry); err != nil {
		t.Error(err)
	}
	if err := c.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if _, err := os.Stat(entry); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("entry of a removed container: %v", err)
		}
		return nil
	})
}
