package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/truesize/truesize/fuse"
	"golang.org/x/sys/unix"
)

// takeLock locks the file that says that this directory's view is served, and
// returns its descriptor. The lock is held until the last process that
// inherits it has ended.
func takeLock(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		if err == unix.EWOULDBLOCK {
			return -1, fmt.Errorf("another truesize-viewd serves this directory: it holds %s (--takeover takes it over)", path)
		}
		return -1, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return fd, nil
}

// mountView mounts the view on runDir/view, over nothing: what a predecessor
// left is taken off.
func mountView(runDir string) (fd int, err error) {
	target := filepath.Join(runDir, "view")
	if err := os.Mkdir(target, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return -1, err
	}
	if err := fuse.Detach(target); err != nil {
		return -1, err
	}
	if _, err := fuse.Share(runDir); err != nil {
		return -1, err
	}
	if fd, err = fuse.Mount(target); err != nil {
		return -1, errors.Join(err, unmountView(runDir))
	}
	return fd, nil
}

// unmountView undoes what mountView did.
func unmountView(runDir string) error {
	if err := fuse.Detach(filepath.Join(runDir, "view")); err != nil {
		return err
	}
	return fuse.Unshare(runDir)
}
