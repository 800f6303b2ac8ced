package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const cgroupRoot = "/sys/fs/cgroup"

// controllers are the v1 hierarchies a container is in.
var controllers = []string{"cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "freezer"}

// cgroups makes and removes the cgroups of one run, all below one of its own.
type cgroups struct {
	unified bool
	name    string
	made    []string
}

func newCgroups(name string) (*cgroups, error) {
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	c := &cgroups{unified: err == nil, name: name}
	if _, err := c.make(""); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// dirs are the directories of cgroup sub.
func (c *cgroups) dirs(sub string) []string {
	if c.unified {
		return []string{filepath.Join(cgroupRoot, c.name, sub)}
	}
	var ds []string
	for _, ctl := range controllers {
		if _, err := os.Stat(filepath.Join(cgroupRoot, ctl)); err == nil {
			ds = append(ds, filepath.Join(cgroupRoot, ctl, c.name, sub))
		}
	}
	return ds
}

// make makes cgroup sub and returns its paths as a registry entry has them.
func (c *cgroups) make(sub string) (map[string]string, error) {
	paths := map[string]string{}
	for _, d := range c.dirs(sub) {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
		c.made = append(c.made, d)
		rel, _ := filepath.Rel(cgroupRoot, d)
		if c.unified {
			paths[""] = "/" + rel
			if sub == "" {
				if err := os.WriteFile(filepath.Join(d, "cgroup.subtree_control"), []byte("+cpu +memory +cpuset +io"), 0); err != nil {
					return nil, err
				}
			}
			continue
		}
		ctl, path, _ := strings.Cut(rel, "/")
		paths[ctl] = "/" + path
		if ctl == "cpuset" { // a v1 cpuset takes no process before it is filled
			for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
				b, err := os.ReadFile(filepath.Join(filepath.Dir(d), f))
				if err != nil {
					return nil, err
				}
				if err := os.WriteFile(filepath.Join(d, f), b, 0); err != nil {
					return nil, err
				}
			}
		}
	}
	return paths, nil
}

// limit sets CPUs and memory (bytes) of cgroup sub.
func (c *cgroups) limit(sub string, cpus int, memory int64) error {
	set := func(ctl, file, value string) error {
		d := filepath.Join(cgroupRoot, ctl, c.name, sub, file)
		if c.unified {
			d = filepath.Join(cgroupRoot, c.name, sub, file)
		}
		return os.WriteFile(d, []byte(value), 0)
	}
	if c.unified {
		return errors.Join(set("", "cpu.max", fmt.Sprintf("%d 100000", cpus*100000)),
			set("", "memory.max", strconv.FormatInt(memory, 10)))
	}
	return errors.Join(set("cpu", "cpu.cfs_period_us", "100000"),
		set("cpu", "cpu.cfs_quota_us", strconv.Itoa(cpus*100000)),
		set("memory", "memory.limit_in_bytes", strconv.FormatInt(memory, 10)))
}

// enter moves a process into cgroup sub.
func (c *cgroups) enter(sub string, pid int) error {
	for _, d := range c.dirs(sub) {
		if err := os.WriteFile(filepath.Join(d, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return err
		}
	}
	return nil
}

// cpuNanos is the CPU time that cgroup sub has used, in nanoseconds.
func (c *cgroups) cpuNanos(sub string) (int64, error) {
	if !c.unified {
		b, err := os.ReadFile(filepath.Join(cgroupRoot, "cpuacct", c.name, sub, "cpuacct.usage"))
		if err != nil {
			return 0, err
		}
		return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	}
	b, err := os.ReadFile(filepath.Join(cgroupRoot, c.name, sub, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	var usec int64
	if _, err := fmt.Sscanf(string(b), "usage_usec %d", &usec); err != nil {
		return 0, fmt.Errorf("parse cpu.stat: %w", err)
	}
	return usec * 1000, nil
}

// close removes what was made, the newest first.
func (c *cgroups) close() error {
	var errs []error
	for i := len(c.made) - 1; i >= 0; i-- {
		if err := os.Remove(c.made[i]); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	c.made = nil
	return errors.Join(errs...)
}
