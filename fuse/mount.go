package fuse

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FSType is the type of the view's mounts in mountinfo.
const FSType = "fuse.truesize"

// Mount opens a FUSE connection and mounts it on the directory target. The
// descriptor is in blocking mode; the caller closes it. Everything may be read
// by every user, and nothing written, so the kernel is not asked to check modes
// (default_permissions): it would have to get the attributes of every directory
// on the way first, and those of the root change with each container. Files
// that are bound from it have its flags too. The mount's source names the run
// directory, so that instances on one kernel are told apart (pkg/attach).
func Mount(target string) (fd int, err error) {
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/fuse (modprobe fuse?): %w", err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40555,user_id=0,group_id=0,allow_other,max_read=%d", fd, maxPayload)
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("truesize:"+filepath.Dir(target), target, FSType, flags, data); err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "mount " + FSType + " on", Path: target, Err: err}
	}
	return fd, nil
}

// Detach takes every mount off target that is ours: also that of a server that
// died, whose files answer ENOTCONN or not at all. Nothing is read below it.
// Containers that have its files bound keep them.
func Detach(target string) error {
	for {
		mounts, err := readMounts()
		if err != nil {
			return err
		}
		m := topMount(mounts, target)
		if m == nil || m.fsType != FSType {
			return nil
		}
		if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return &os.PathError{Op: "unmount", Path: target, Err: err}
		}
	}
}

// Share makes dir a mount point of its own, by binding it on itself, unless it
// is one, and makes it shared: a runtime binds files from below it into
// containers, and refuses to follow a mount that is not shared. It returns
// whether dir was bound on itself, now or by an earlier server.
func Share(dir string) (bound bool, err error) {
	mounts, err := readMounts()
	if err != nil {
		return false, err
	}
	m := topMount(mounts, dir)
	if m == nil {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return false, &os.PathError{Op: "bind on itself", Path: dir, Err: err}
		}
		bound = true
	} else {
		bound = m.root != "/"
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return bound, &os.PathError{Op: "make shared", Path: dir, Err: err}
	}
	return bound, nil
}

// Unshare undoes Share: it takes the bind of dir on itself off.
func Unshare(dir string) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	if m := topMount(mounts, dir); m == nil || m.root == "/" {
		return nil
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "unmount", Path: dir, Err: err}
	}
	return nil
}

// A mount is a line of mountinfo, proc(5).
type mount struct {
	root, point, fsType string
}

func topMount(list []mount, point string) *mount {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].point == point {
			return &list[i]
		}
	}
	return nil
}

func readMounts() ([]mount, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(data), nil
}

// parseMounts leaves out the lines it cannot read.
func parseMounts(data []byte) []mount {
	var list []mount
	for line := range bytes.Lines(data) {
		before, after, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 1 {
			continue
		}
		list = append(list, mount{root: unescape(f[3]), point: unescape(f[4]), fsType: g[0]})
	}
	return list
}

// unescape undoes the octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
