package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/size"
)

// A Group is one cgroup, in each of the hierarchies. It may be used by several
// goroutines at once. Once the cgroup is removed every reading returns an
// error that wraps ErrGone; the cgroup made anew under the same path is
// another Group.
type Group struct {
	fs    *FS
	paths map[string]string

	// mu keeps Close from taking descriptors away under a read.
	mu       sync.RWMutex
	closed   bool
	cpu      cpuFiles
	memory   memoryFiles
	io       ioFiles
	cpuset   file
	pids     file
	tasks    *os.File // directory in whose files the thread ids are
	tasksV2  bool
	tasksDir string
}

// Open opens the cgroup of paths: by v1 controller, with the key "" for the
// unified hierarchy, as ParseProcCgroup and PathsFromSpec return them. The
// error wraps ErrGone when the cgroup does not exist and ErrBadPath when a
// path cannot be one. Close the Group when done.
func (f *FS) Open(paths map[string]string) (*Group, error) {
	g := &Group{fs: f, paths: paths}
	err := g.open()
	if err == nil {
		// A cgroup removed while it was opened has files missing: that must
		// not look like a controller that is not enabled.
		if _, cerr := g.CPU(); errors.Is(cerr, ErrGone) {
			err = cerr
		}
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// absentFiles marks every file as not there, until it is opened.
func (g *Group) absentFiles() {
	for _, f := range g.files() {
		f.fd = -1
	}
}

func (g *Group) files() []*file {
	list := append(g.cpu.files(), g.memory.files()...)
	return append(append(list, g.io.files()...), &g.cpuset, &g.pids)
}

func (g *Group) open() error {
	g.absentFiles()
	for _, step := range []struct {
		controller string
		required   bool
		open       func(d dir) error
	}{
		{"cpu", false, g.openCPU},
		{"cpuacct", true, g.openCPUAcct},
		{"memory", true, g.openMemory},
		{"blkio", false, g.openIO},
		{"cpuset", false, g.openCPUSet},
		{"pids", false, g.openPids},
	} {
		if err := g.openIn(step.controller, step.required, step.open); err != nil {
			return err
		}
	}
	return nil
}

// A dir is the cgroup's directory in one hierarchy.
type dir struct {
	fd   int
	h    *hierarchy
	rel  string // the cgroup's path in the hierarchy
	path string
	v2   bool
}

// file opens one of the directory's files into f.
func (d dir) file(name string, f *file) (err error) {
	*f, err = openFile(d.fd, d.path, name)
	return err
}

// openIn opens the files of one controller. A hierarchy that the node does not
// have, or that the runtime made no cgroup in, leaves them absent, unless
// they are required.
func (g *Group) openIn(controller string, required bool, open func(dir) error) error {
	h := g.fs.byController[controller]
	if h == nil {
		return nil
	}
	if _, ok := g.paths[h.key]; !ok && !required {
		return nil
	}
	p, err := h.path(g.paths)
	if err != nil {
		return err
	}
	fd, err := h.openDir(p)
	if err != nil {
		if required {
			return err
		}
		return nil
	}
	defer unix.Close(fd)
	return open(dir{fd: fd, h: h, rel: p, path: path.Join(h.dir, p), v2: h.v2})
}

func (g *Group) openCPU(d dir) error {
	g.cpu.v2 = d.v2
	if err := d.file("cpu.stat", &g.cpu.stat); err != nil {
		return err
	}
	if d.v2 && !g.cpu.stat.exists() { // every v2 cgroup has one
		return fmt.Errorf("open %s: %w", g.cpu.stat.path, ErrGone)
	}
	return d.file("cpu.stat.local", &g.cpu.local)
}

// openCPUAcct also takes the directory for the thread ids: every runtime makes
// a cgroup there.
func (g *Group) openCPUAcct(d dir) error {
	if err := g.openTasks(d); err != nil || d.v2 {
		return err
	}
	if err := d.file("cpuacct.usage", &g.cpu.usage); err != nil {
		return err
	}
	if !g.cpu.usage.exists() {
		return fmt.Errorf("open %s: %w", g.cpu.usage.path, ErrGone)
	}
	return d.file("cpuacct.stat", &g.cpu.split)
}

func (g *Group) openMemory(d dir) error {
	g.memory.v2 = d.v2
	names := []string{"memory.usage_in_bytes", "memory.stat", "", "memory.kmem.usage_in_bytes"}
	if d.v2 {
		names = []string{"memory.current", "memory.stat", "memory.swap.current", ""}
	}
	for i, f := range []*file{&g.memory.usage, &g.memory.stat, &g.memory.swap, &g.memory.kmem} {
		if names[i] == "" {
			continue
		}
		if err := d.file(names[i], f); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) openIO(d dir) error {
	g.io.v2 = d.v2
	if d.v2 {
		return d.file("io.stat", &g.io.bytes)
	}
	if err := d.firstOf(&g.io.bytes, "blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"); err != nil {
		return err
	}
	return d.firstOf(&g.io.count, "blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced")
}

// firstOf opens the first of the names that exists.
func (d dir) firstOf(f *file, names ...string) error {
	for _, name := range names {
		if err := d.file(name, f); err != nil || f.exists() {
			return err
		}
	}
	return nil
}

// openCPUSet opens the effective cpuset of the nearest directory that has one:
// on v2 the controller need not be enabled down to the cgroup itself.
func (g *Group) openCPUSet(d dir) error {
	return d.h.ancestors(d.rel, func(dirfd int, path string) (err error) {
		if !g.cpuset.exists() {
			g.cpuset, err = openFile(dirfd, path, cpusetFile(d.v2))
		}
		return err
	})
}

func (g *Group) openPids(d dir) error { return d.file("pids.current", &g.pids) }

// Close closes the files. Readings afterwards return ErrGone.
func (g *Group) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	for _, f := range g.files() {
		f.close()
	}
	if g.tasks != nil {
		return g.tasks.Close()
	}
	return nil
}

// read runs fn with a buffer and the files held open.
func (g *Group) read(fn func(buf *[]byte) error) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return fmt.Errorf("read a closed cgroup: %w", ErrGone)
	}
	buf := g.fs.bufs.get()
	defer g.fs.bufs.put(buf)
	return fn(buf)
}

// CPU reads the CPU time.
func (g *Group) CPU() (c CPU, err error) {
	err = g.read(func(buf *[]byte) error {
		c, err = g.cpu.read(buf)
		return err
	})
	return c, err
}

// Memory reads the memory. The values are read one after the other, and the
// kernel gathers some in batches: they need not add up.
func (g *Group) Memory() (m Memory, err error) {
	err = g.read(func(buf *[]byte) error {
		m, err = g.memory.read(buf)
		return err
	})
	return m, err
}

// IO appends the I/O of each block device to dst.
func (g *Group) IO(dst []Device) ([]Device, error) {
	err := g.read(func(buf *[]byte) (err error) {
		dst, err = g.io.read(buf, dst)
		return err
	})
	return dst, err
}

// CPUSet reads the CPUs that the cgroup may run on, in ascending order.
func (g *Group) CPUSet() (cpus []int, err error) {
	err = g.read(func(buf *[]byte) error {
		data, err := g.cpuset.read(buf)
		if err != nil {
			return err
		}
		cpus, err = ParseCPUList(data)
		return wrap(&g.cpuset, err)
	})
	return cpus, err
}

// Tasks reads the number of threads in the cgroup and its descendants, by the
// pids controller.
func (g *Group) Tasks() (n int, err error) {
	err = g.read(func(buf *[]byte) error {
		var v uint64
		err := readValue(&g.pids, buf, &v)
		n = int(v)
		return err
	})
	return n, err
}

// HugePages reads what the cgroup may use and uses of huge pages of pageSize
// bytes. It opens the files anew: few containers have any.
func (g *Group) HugePages(pageSize uint64) (HugePages, error) {
	return g.fs.hugePages(g.paths, pageSize)
}

// Limits reads the effective limits: at every one the smallest among the
// cgroup and its ancestors.
func (g *Group) Limits() (size.Limits, error) { return g.fs.Limits(g.paths) }

// hugePageName is how the kernel names a page size in a file: 2MB, 1GB, 64KB.
func hugePageName(pageSize uint64) string {
	switch {
	case pageSize >= 1<<30:
		return strconv.FormatUint(pageSize>>30, 10) + "GB"
	case pageSize >= 1<<20:
		return strconv.FormatUint(pageSize>>20, 10) + "MB"
	}
	return strconv.FormatUint(pageSize>>10, 10) + "KB"
}
