package registry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// stagingDir is where the directories of new containers are made, to be moved
// to their place whole. Its name is no id, and nobody watches it: a new
// container is one event for the readers.
const stagingDir = ".new"

// Create writes the entry of a new container and, where it has a shim, its
// size page, as [Dir.KeepSizePage] does. A reader sees both or nothing. Of a
// container that is there already both are replaced, one after the other.
func (d *Dir) Create(c *Container, possibleCPUs int) error {
	data, err := encode(c)
	if err != nil {
		return err
	}
	files := map[string][]byte{entryFile: data}
	if c.Shim != "" {
		page := sizePageOf(c, possibleCPUs)
		if err := page.check(); err != nil {
			return fmt.Errorf("size page of %.64q: %w", c.ID, err)
		}
		files[sizePageFile] = page.bytes()
	}
	err = d.publish(c.ID, files)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := d.Put(c); err != nil || c.Shim == "" {
		return err
	}
	return d.KeepSizePage(c, possibleCPUs)
}

// publish makes a container's directory with its files. The error wraps
// [os.ErrExist] when there is one that is not empty.
func (d *Dir) publish(id string, files map[string][]byte) (err error) {
	dir, err := d.ContainerDir(id)
	if err != nil {
		return err
	}
	tmp, err := d.stage()
	if err != nil {
		return fmt.Errorf("create entry of %s: %w", id, err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	for name, data := range files {
		if err := writeNew(filepath.Join(tmp, name), data); err != nil {
			return fmt.Errorf("create entry of %s: %w", id, err)
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("create entry of %s: %w", id, err)
	}
	if err := syncDir(tmp); err != nil {
		return err
	}
	// Not os.Rename, which refuses every directory that is there: an empty one
	// is what a writer has left that was killed.
	err = unix.Rename(tmp, dir)
	if errors.Is(err, unix.ENOTEMPTY) {
		err = os.ErrExist
	}
	if err != nil {
		return fmt.Errorf("create entry %s: %w", dir, err)
	}
	return syncDir(d.path)
}

// stage makes a directory to be moved into the registry.
func (d *Dir) stage() (string, error) {
	staging := filepath.Join(d.path, stagingDir)
	tmp, err := os.MkdirTemp(staging, "")
	if !errors.Is(err, os.ErrNotExist) {
		return tmp, err
	}
	if err := os.MkdirAll(staging, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(staging, "")
}

// writeNew writes a file that nobody reads yet, durably. It does without os.File,
// which would register the file with Go's poller.
func writeNew(path string, data []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "create", Path: path, Err: err}
	}
	for err == nil && len(data) > 0 {
		var n int
		switch n, err = unix.Write(fd, data); err {
		case nil:
			data = data[n:]
		case unix.EINTR:
			err = nil
		}
	}
	if err == nil {
		err = unix.Fsync(fd)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// RemoveUnfinished removes what writers have left that were killed while they
// created an entry, as far as it is older than age.
func (d *Dir) RemoveUnfinished(age time.Duration) error {
	staging := filepath.Join(d.path, stagingDir)
	list, err := os.ReadDir(staging)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove unfinished entries: %w", err)
	}
	var errs []error
	for _, e := range list {
		fi, err := e.Info()
		if err != nil || time.Since(fi.ModTime()) < age {
			continue // gone, or in use
		}
		if err := os.RemoveAll(filepath.Join(staging, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("remove unfinished entry: %w", err))
		}
	}
	return errors.Join(errs...)
}
