package attach

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A clone is a detached copy of a file's mount.
type clone struct {
	fd     int
	device Device
	source string
	target string
	sealed bool // read-only and so on already
}

// cloneAll clones the mounts of files, in the caller's mount namespace, and
// returns a result for each that it could not.
func cloneAll(files []File) (clones []*clone, refused []Result) {
	for _, f := range files {
		c, err := cloneMount(f)
		if err != nil {
			refused = append(refused, Result{Target: f.Target, Outcome: Refused, Err: err})
			continue
		}
		clones = append(clones, c)
	}
	return clones, refused
}

func cloneMount(f File) (*clone, error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	fd, err := unix.OpenTree(unix.AT_FDCWD, f.Source, flags)
	if err != nil {
		return nil, sourceError("open_tree", f.Source, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, sourceError("stat", f.Source, err)
	}
	// Attributes of a detached mount can be set from 5.12 on. Before, they are
	// set once it is mounted: see seal.
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
	})
	if err != nil && err != unix.ENOSYS {
		unix.Close(fd)
		return nil, sourceError("mount_setattr", f.Source, err)
	}
	return &clone{fd: fd, device: deviceOf(st.Dev), source: f.Source, target: f.Target, sealed: err == nil}, nil
}

func closeClones(clones []*clone) {
	for _, c := range clones {
		unix.Close(c.fd)
	}
}

// sourceError tells a dead view from other failures.
func sourceError(op, path string, err error) error {
	if err == unix.ENOTCONN || err == unix.ECONNABORTED {
		return fmt.Errorf("%s %s: %w", op, path, ErrViewDead)
	}
	return fmt.Errorf("%s %s: %w", op, path, err)
}
