package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// maxDepth bounds how deep Threads and Processes go below the cgroup: a
// container may have made cgroups of its own.
const maxDepth = 32

// openTasks keeps the directory open, for Threads.
func (g *Group) openTasks(d dir) error {
	fd, err := openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open cgroup %s: %w", d.path, err)
	}
	g.tasks = os.NewFile(uintptr(fd), d.path)
	g.tasksDir, g.tasksV2 = d.path, d.v2
	return nil
}

// Threads appends to dst the thread ids, in the reader's pid namespace, of the
// cgroup and its descendants, at most limit of them.
func (g *Group) Threads(dst []int, limit int) ([]int, error) {
	err := g.read(func(buf *[]byte) error {
		if g.tasks == nil {
			return fmt.Errorf("read threads: %w", ErrNoController)
		}
		w := idWalk{file: "tasks", buf: buf, ids: dst, limit: len(dst) + limit}
		if g.tasksV2 {
			w.file = "cgroup.threads"
		}
		err := w.walk(int(g.tasks.Fd()), g.tasksDir, 0)
		dst = w.ids
		return err
	})
	return dst, err
}

// Processes returns the ids, in the reader's pid namespace, of the processes of
// the cgroup at paths and of its descendants, at most limit of them. The error
// wraps ErrGone when there is no such cgroup, and ErrBadPath.
func (f *FS) Processes(paths map[string]string, limit int) ([]int, error) {
	h := f.byController["cpuacct"] // every runtime makes a cgroup there
	if h == nil {
		return nil, fmt.Errorf("read processes: %w", ErrNoController)
	}
	p, err := h.path(paths)
	if err != nil {
		return nil, err
	}
	fd, err := h.openDir(p)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := f.bufs.get()
	defer f.bufs.put(buf)
	w := idWalk{file: "cgroup.procs", buf: buf, limit: limit}
	err = w.walk(fd, path.Join(h.dir, p), 0)
	return w.ids, err
}

// An idWalk gathers the ids in the files of that name, of a directory and those
// below it.
type idWalk struct {
	file  string
	buf   *[]byte
	ids   []int
	limit int
}

// walk reads one directory and goes down into its children. A child that goes
// meanwhile is passed over.
func (w *idWalk) walk(dirfd int, dir string, depth int) error {
	if err := w.readDir(dirfd, dir); err != nil {
		return err
	}
	if len(w.ids) >= w.limit || depth == maxDepth || childless(dirfd) {
		return nil
	}
	names, err := children(dirfd, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		if err != nil {
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
				continue
			}
			return fmt.Errorf("open cgroup %s: %w", path.Join(dir, name), err)
		}
		err = w.walk(fd, path.Join(dir, name), depth+1)
		unix.Close(fd)
		// A threaded one tells of no processes: those of its threads are in the
		// domain above (cgroup-v2.rst, Threads).
		if err != nil && !errors.Is(err, ErrGone) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}

// readDir appends the ids of one directory.
func (w *idWalk) readDir(dirfd int, dir string) error {
	f, err := openFile(dirfd, dir, w.file)
	if err != nil {
		return err
	}
	defer f.close()
	if !f.exists() {
		return fmt.Errorf("read %s: %w", f.path, ErrGone)
	}
	data, err := f.read(w.buf)
	if err != nil {
		return err
	}
	for len(data) > 0 && len(w.ids) < w.limit {
		var line []byte
		line, data = cutLine(data)
		id, ok := parseUint(line)
		if !ok || id > 1<<31-1 {
			return wrap(&f, fmt.Errorf("%w: line %.64q", errFormat, line))
		}
		if id > 0 { // 0 is one that the reader's pid namespace cannot see
			w.ids = append(w.ids, int(id))
		}
	}
	return nil
}

// childless says that a directory certainly has no subdirectory: kernfs counts
// them in the directory's links, which saves reading it.
func childless(dirfd int) bool {
	var st unix.Stat_t
	return unix.Fstat(dirfd, &st) == nil && st.Nlink == 2
}

// children lists the subdirectories.
func children(dirfd int, dir string) ([]string, error) {
	fd, err := openat(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
			err = ErrGone
		}
		return nil, fmt.Errorf("open cgroup %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list cgroup %s: %w", dir, err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
