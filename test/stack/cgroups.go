package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// cgroupDirs returns the directories of the cgroup at path in the mounted
// hierarchies where it exists.
func cgroupDirs(path string) []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var dirs []string
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 1 || !strings.HasPrefix(kind[0], "cgroup") {
			continue
		}
		dir := filepath.Join(fields[4], path)
		if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// removeCgroups removes the cgroup at path, with those in it, from every
// hierarchy.
func removeCgroups(path string) error {
	var errs []error
	for _, root := range cgroupDirs(path) {
		walkCgroup(root, func(dir string) {
			// rmdir, never more: a cgroup's files are the kernel's.
			if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dir, err))
			}
		})
	}
	return errors.Join(errs...)
}

// walkCgroup calls f with every cgroup at and below dir, children first.
func walkCgroup(dir string, f func(string)) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			walkCgroup(filepath.Join(dir, e.Name()), f)
		}
	}
	f(dir)
}

// CgroupParent returns the cgroup, in every hierarchy, that holds the
// stack's pods: whatever makes pods beside [Stack.Create] puts them below it.
func (s *Stack) CgroupParent() string { return cgroupOf(s.ID) }
