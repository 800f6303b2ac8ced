package attach

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// resolve opens name below dir as a place (O_PATH), following no symbolic
// link.
func resolve(dir int, name string, flags, how uint64) (int, error) {
	for {
		fd, err := unix.Openat2(dir, name, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC | flags,
			Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH | how,
		})
		// EAGAIN: a rename or mount elsewhere got in the way of ".." checks.
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

func targetError(target string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: %w", target, ErrNoTarget)
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("%s: %w: above the file", target, ErrOwnMount)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s: %w: there is a symbolic link or a file on the way", target, ErrNotGenuine)
	}
	return fmt.Errorf("resolve %s in the container: %w", target, err)
}

// A base is one of the two file systems that views are mounted in.
type base struct{ name, fsType string }

// splitTarget returns the file system that target is in, and the path there.
func splitTarget(target string) (base, string, error) {
	for _, b := range []base{{"proc", "proc"}, {"sys", "sysfs"}} {
		if rel, ok := strings.CutPrefix(target, "/"+b.name+"/"); ok && rel != "" && path.Clean(target) == target {
			return b, rel, nil
		}
	}
	return base{}, "", fmt.Errorf("%q: want a clean path below /proc or /sys", target)
}

// relative turns a path from the root into one that openat2 accepts below it.
func relative(p string) string {
	if p == "/" {
		return "."
	}
	return strings.TrimPrefix(p, "/")
}

// parseMountID finds the mount's id in a /proc/PID/fdinfo (proc_pid_fdinfo(5)).
func parseMountID(info []byte) (int, error) {
	for line := range strings.Lines(string(info)) {
		if v, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, errors.New("fdinfo without mnt_id")
}

// readAt reads a file of the host's procfs.
func readAt(proc int, name string) ([]byte, error) {
	fd, err := unix.Openat(proc, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/proc/" + name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxTable))
}
