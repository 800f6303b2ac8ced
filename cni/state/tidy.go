package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/truesize/truesize/cni/internal/flock"
)

// Tidy removes the lock and temp files of network that killed calls left.
// Those of calls under way are left.
func (d *Dir) Tidy(network string) error {
	locks := filepath.Join(d.Run, "locks", network)
	names, err := readNames(locks)
	if err != nil {
		return err
	}
	for _, dir := range []string{filepath.Join(d.Run, "attachments", network), filepath.Join(d.State, "leases", network)} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if base, ok := strings.CutSuffix(strings.TrimPrefix(e.Name(), "."), tempSuffix); ok && base != e.Name() {
				names = append(names, base)
			}
		}
	}
	for _, n := range names {
		if err := d.tidyOne(network, n); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) tidyOne(network, name string) error {
	lock, err := flock.Acquire(filepath.Join(d.Run, "locks", network, name), 0)
	if errors.Is(err, flock.ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	recorded := false
	for _, dir := range []string{filepath.Join(d.Run, "attachments", network), filepath.Join(d.State, "leases", network)} {
		os.Remove(filepath.Join(dir, "."+name+tempSuffix))
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			recorded = true
		}
	}
	lock.Release(recorded)
	return nil
}
