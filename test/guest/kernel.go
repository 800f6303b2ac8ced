package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelPackage depends on the newest kernel of its release: 6.1 in Debian 12,
// 5.10 in Debian 11. The cloud flavour is the smallest.
const kernelPackage = "linux-image-cloud-amd64"

// A Kernel is an unpacked kernel package.
type Kernel struct {
	Release string // as uname -r prints it
	Image   string // path of the bootable image
	Modules string // directory of the modules
}

// Fetch returns the newest kernel of a release of Debian, of the node's own
// where it is "", which it downloads and unpacks below dir unless it is there.
// It needs apt-get and dpkg-deb, and no root if apt's lists are fresh or those
// of another release.
func Fetch(ctx context.Context, dir, release string, progress func(string)) (Kernel, error) {
	// A directory for each other release: one's kernels are not another's.
	dir = filepath.Join(dir, release)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Kernel{}, fmt.Errorf("create the kernels' cache: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	a, err := openArchive(ctx, dir, release)
	if err != nil {
		return Kernel{}, err
	}
	name, err := a.newest(ctx)
	if err != nil {
		progress("updating the package lists")
		// One source that does not answer may not be the one that is needed.
		updated := a.update(ctx)
		if name, err = a.newest(ctx); err != nil {
			return Kernel{}, errors.Join(err, updated)
		}
	}
	k := unpacked(dir, name)
	if _, err := os.Stat(k.Image); err == nil {
		return k, nil
	}
	progress("fetching " + name)
	if err := a.download(ctx, name); err != nil {
		return Kernel{}, fmt.Errorf("fetch kernel: %w", err)
	}
	return k, prune(dir, name)
}

// unpacked says where the parts of a kernel's package are.
func unpacked(dir, name string) Kernel {
	release := strings.TrimPrefix(name, "linux-image-")
	root := filepath.Join(dir, name)
	return Kernel{
		Release: release,
		Image:   filepath.Join(root, "boot", "vmlinuz-"+release),
		Modules: filepath.Join(root, "lib", "modules", release),
	}
}

// prune removes the kernels before this one.
func prune(dir, keep string) error {
	old, err := filepath.Glob(filepath.Join(dir, "linux-image-*"))
	for _, path := range old {
		if filepath.Base(path) != keep {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

// lock waits until no other process fills the cache.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the kernels' cache: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the kernels' cache %s: %w", path, err), f.Close())
	}
	return func() { f.Close() }, nil
}
