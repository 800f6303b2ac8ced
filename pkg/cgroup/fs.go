package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A Mode is how a node's cgroup hierarchies are laid out.
type Mode string

const (
	V1     Mode = "v1"     // a hierarchy per controller
	V2     Mode = "v2"     // the unified hierarchy alone
	Hybrid Mode = "hybrid" // v1 hierarchies, and a unified one beside them
)

// unified is the key of the v2 hierarchy in a map of paths, as /proc/PID/cgroup
// has it.
const unified = ""

// controllers are those that this package reads.
var controllers = [...]string{"cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "hugetlb"}

// A hierarchy is one mounted cgroup tree.
type hierarchy struct {
	dir    string // its path, for errors
	rootFD int    // everything is opened beneath it
	v2     bool
	key    string // of its path in a map of paths
}

// FS is a mounted cgroup file system: the hierarchies below one directory,
// /sys/fs/cgroup on a node. It may be used by several goroutines at once.
type FS struct {
	mode Mode
	// byController has the hierarchy of each controller. On v2 those are all
	// the unified one.
	byController map[string]*hierarchy
	all          []*hierarchy
	bufs         bufferPool
}

// Detect finds out which hierarchies lie below root and opens them. Close the
// FS when done.
func Detect(root string) (*FS, error) {
	f := &FS{byController: make(map[string]*hierarchy)}
	if err := f.detect(root); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *FS) detect(root string) error {
	switch isV2, err := exists(filepath.Join(root, "cgroup.controllers")); {
	case err != nil:
		return fmt.Errorf("detect cgroups: %w", err)
	case isV2:
		f.mode = V2
		return f.addUnified(root)
	}
	f.mode = V1
	for _, c := range controllers {
		if err := f.addV1(root, c); err != nil {
			return err
		}
	}
	dir := filepath.Join(root, "unified")
	isHybrid, err := exists(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("detect cgroups: %w", err)
	}
	if isHybrid {
		f.mode = Hybrid
		if err := f.addUnified(dir); err != nil {
			return err
		}
	}
	if len(f.all) == 0 {
		return fmt.Errorf("detect cgroups: no cgroup hierarchy in %s: mount the node's /sys/fs/cgroup there", root)
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// addV1 opens the hierarchy of a controller, mounted under its own name, as a
// symlink to it, or together with others ("cpu,cpuacct").
func (f *FS) addV1(root, controller string) error {
	dir, err := findV1(root, controller)
	if err != nil || dir == "" {
		return err
	}
	h, err := f.open(dir, false, controller)
	if err != nil {
		return err
	}
	f.byController[controller] = h
	return nil
}

// findV1 returns the directory of a controller, "" when it has none.
func findV1(root, controller string) (string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return "", fmt.Errorf("detect cgroups: %w", err)
	}
	for _, e := range entries {
		for _, name := range strings.Split(e.Name(), ",") {
			if name != controller {
				continue
			}
			dir := filepath.Join(root, e.Name())
			// An empty directory is a mount point with nothing mounted.
			isCgroup, err := exists(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				return "", fmt.Errorf("detect cgroups: %w", err)
			}
			if isCgroup {
				return dir, nil
			}
		}
	}
	return "", nil
}

// addUnified opens the v2 hierarchy at dir and takes from it the controllers
// that no v1 hierarchy has.
func (f *FS) addUnified(dir string) error {
	h, err := f.open(dir, true, unified)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("detect cgroups: %w", err)
	}
	enabled := strings.Fields(string(data))
	for _, c := range controllers {
		if f.byController[c] == nil && (f.mode == V2 || has(enabled, v2Name(c))) {
			f.byController[c] = h
		}
	}
	return nil
}

// v2Name is a v1 controller's name on v2.
func v2Name(controller string) string {
	switch controller {
	case "blkio":
		return "io"
	case "cpuacct":
		return "cpu"
	}
	return controller
}

func has(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

func (f *FS) open(dir string, v2 bool, key string) (*hierarchy, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup hierarchy %s: %w", dir, err)
	}
	h := &hierarchy{dir: dir, rootFD: fd, v2: v2, key: key}
	f.all = append(f.all, h)
	return h, nil
}

// Mode returns how the hierarchies are laid out.
func (f *FS) Mode() Mode { return f.mode }

// Close closes the hierarchies; nothing may be read by f afterwards, or at that
// moment. Groups that are open stay so.
func (f *FS) Close() error {
	var errs []error
	for _, h := range f.all {
		errs = append(errs, unix.Close(h.rootFD))
	}
	return errors.Join(errs...)
}
