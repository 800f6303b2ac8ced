package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelPackage depends on the newest kernel of the node's release: 6.1 of
// Debian 12. The cloud flavour is the smallest.
const kernelPackage = "linux-image-cloud-amd64"

// A Kernel is an unpacked kernel package.
type Kernel struct {
	Release string // as uname -r prints it
	Image   string // path of the bootable image
	Modules string // directory of the modules
}

// Fetch returns the kernel, which it downloads and unpacks below dir unless it
// is there. It needs apt-get and dpkg-deb, and no root if apt's lists are
// fresh.
func Fetch(ctx context.Context, dir string, progress func(string)) (Kernel, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Kernel{}, fmt.Errorf("create the kernels' cache: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	name, err := newest(ctx)
	if err != nil {
		progress("updating the package lists")
		// A source of the node that does not answer is not ours to mend.
		_, _ = command(ctx, dir, "apt-get", "update", "-qq")
		if name, err = newest(ctx); err != nil {
			return Kernel{}, err
		}
	}
	k := unpacked(dir, name)
	if _, err := os.Stat(k.Image); err == nil {
		return k, nil
	}
	progress("fetching " + name)
	if err := download(ctx, dir, name); err != nil {
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

var dependsLine = regexp.MustCompile(`(?m)^\s*Depends: (linux-image-[a-z0-9.+-]+)$`)

// newest returns the name of the package with the kernel.
func newest(ctx context.Context) (string, error) {
	out, err := command(ctx, "", "apt-cache", "depends", kernelPackage)
	if err != nil {
		return "", fmt.Errorf("look for a kernel: %w", err)
	}
	m := dependsLine.FindStringSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("look for a kernel: the package lists have no %s; run apt-get update", kernelPackage)
	}
	return m[1], nil
}

// download puts the unpacked package at dir/name, all at once.
func download(ctx context.Context, dir, name string) error {
	work, err := os.MkdirTemp(dir, ".fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	// As root, apt would fetch as a user that may not write here.
	get := []string{"apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name}
	if _, err := command(ctx, work, get...); err != nil {
		// The lists may name a version that the mirror no longer has.
		_, _ = command(ctx, work, "apt-get", "update", "-qq")
		if _, err := command(ctx, work, get...); err != nil {
			return err
		}
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages: %w", name, len(debs), err)
	}
	root := filepath.Join(work, "root")
	if _, err := command(ctx, work, "dpkg-deb", "--extract", debs[0], root); err != nil {
		return err
	}
	// Without the image it is what an earlier version of this program left.
	if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
		return err
	}
	return os.Rename(root, filepath.Join(dir, name))
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

// command runs a command in dir and returns its standard output.
func command(ctx context.Context, dir string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), err
}
