package cgroup

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxPath bounds a cgroup path in bytes: PATH_MAX.
const maxPath = 4096

// checkPath refuses what is not the absolute, clean path of a cgroup within
// its hierarchy. Such paths come from the registry, and in the end from a
// runtime's /proc/PID/cgroup, where one outside the reader's own cgroup
// namespace begins with "/..".
func checkPath(p string) error {
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p || len(p) >= maxPath ||
		strings.ContainsAny(p, "\x00\n") {
		return fmt.Errorf("%w: %.200q: want an absolute path with no \"..\", as in /proc/PID/cgroup", ErrBadPath, p)
	}
	return nil
}

// relative is p as a path below a hierarchy's root.
func relative(p string) string {
	if p == "/" {
		return "."
	}
	return strings.TrimPrefix(p, "/")
}

// path returns the path of the cgroup in h, from a map by controller.
func (h *hierarchy) path(paths map[string]string) (string, error) {
	p, ok := paths[h.key]
	if !ok {
		return "", fmt.Errorf("%w: none is given for %s", ErrBadPath, h.dir)
	}
	return p, checkPath(p)
}

// openDir opens the directory of the cgroup p in h, for openat only. The error
// wraps ErrGone when there is none.
func (h *hierarchy) openDir(p string) (fd int, err error) {
	// p stays within the hierarchy whatever it holds, and a cgroup's directory
	// is never a link. O_PATH does without os.File, which would register the
	// directory with Go's poller.
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	for {
		fd, err = unix.Openat2(h.rootFD, relative(p), &how)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR && err != unix.EAGAIN {
			break
		}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		err = ErrGone
	}
	return -1, fmt.Errorf("open cgroup %s: %w", path.Join(h.dir, p), err)
}

// ancestors calls visit with the directory of p and of each of its ancestors
// that exist, the root last.
func (h *hierarchy) ancestors(p string, visit func(dirfd int, dir string) error) error {
	for {
		d, err := h.openDir(p)
		if err == nil {
			err = visit(d, path.Join(h.dir, p))
			unix.Close(d)
		}
		if err != nil && !errors.Is(err, ErrGone) {
			return err
		}
		if p == "/" {
			return nil
		}
		p = path.Dir(p)
	}
}

// PathsFromSpec returns the paths of the cgroup that an OCI runtime makes for
// linux.cgroupsPath: "/a/b" as it is, and systemd's "slice:prefix:name"
// expanded as systemd nests slices. It serves before the container exists;
// afterwards /proc/PID/cgroup is the authority. See the OCI runtime
// specification, config-linux.md, and systemd.slice(5).
func (f *FS) PathsFromSpec(cgroupsPath string) (map[string]string, error) {
	p := cgroupsPath
	if parts := strings.Split(p, ":"); len(parts) == 3 && !strings.HasPrefix(p, "/") {
		var err error
		if p, err = systemdPath(parts[0], parts[1], parts[2]); err != nil {
			return nil, err
		}
	}
	// A relative path is relative to the runtime's own cgroup, which differs
	// from runtime to runtime: there is nothing to look up.
	if err := checkPath(p); err != nil {
		return nil, fmt.Errorf("linux.cgroupsPath %.200q: %w", cgroupsPath, err)
	}
	paths := make(map[string]string)
	for _, h := range f.byController {
		paths[h.key] = p
	}
	return paths, nil
}

// systemdPath is the path of a scope (or slice) in its slice.
func systemdPath(slice, prefix, name string) (string, error) {
	if slice == "" {
		slice = "system.slice"
	}
	parent, err := expandSlice(slice)
	if err != nil {
		return "", err
	}
	unit := name
	if !strings.HasSuffix(name, ".slice") {
		unit = name + ".scope"
		if prefix != "" {
			unit = prefix + "-" + unit
		}
	}
	if name == "" || strings.Contains(unit, "/") {
		return "", fmt.Errorf("%w: systemd unit %.200q", ErrBadPath, unit)
	}
	return path.Join(parent, unit), nil
}

// expandSlice is where systemd puts a slice: each dash is a level, so that
// "a-b.slice" lies in "a.slice". "-.slice" is the root.
func expandSlice(slice string) (string, error) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if ok && name == "-" {
		return "/", nil
	}
	if !ok || name == "" || strings.Contains(name, "/") ||
		strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") || strings.Contains(name, "--") {
		return "", fmt.Errorf("%w: systemd slice %.200q", ErrBadPath, slice)
	}
	p, unit := "/", ""
	for part := range strings.SplitSeq(name, "-") {
		if unit != "" {
			unit += "-"
		}
		unit += part
		p = path.Join(p, unit+".slice")
	}
	return p, nil
}
