package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// leavePod makes this process the host's: it enters the mount namespace at
// c.hostNS and a cgroup of its own, and executes itself anew with the
// arguments that are left. Whatever then becomes of the pod it was started
// from (deleted, upgraded, out of memory), the view goes on. It returns only
// with an error.
func leavePod(c config) error {
	runtime.LockOSThread() // the thread that enters is the one that executes
	ns, err := unix.Open(c.hostNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open (does the pod have hostPID?)", Path: c.hostNS, Err: err}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the file system attributes of a thread: %w", err)
	}
	if err := unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the host's mount namespace %s: %w", c.hostNS, err)
	}
	if _, err := os.Stat(exe); err != nil {
		return fmt.Errorf("%w: the binary must be at the same path on the host", err)
	}
	if c.cgroup != "" {
		if err := joinCgroup(c.cgroupRoot, c.cgroup); err != nil {
			return err
		}
	}
	args := append([]string{exe}, withoutFlags(c.args, "host-ns", "cgroup")...)
	return fmt.Errorf("execute %s on the host: %w", exe, unix.Exec(exe, args, os.Environ()))
}

// withoutFlags returns args without the flags of those names and their values.
func withoutFlags(args []string, names ...string) (rest []string) {
	for i := 0; i < len(args); i++ {
		name, _, hasValue := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		drop := false
		for _, n := range names {
			drop = drop || (strings.HasPrefix(args[i], "-") && name == n)
		}
		switch {
		case !drop:
			rest = append(rest, args[i])
		case !hasValue:
			i++ // its value
		}
	}
	return rest
}

// withoutSwitch returns args without the flag of that name, which takes no
// value of its own.
func withoutSwitch(args []string, name string) (rest []string) {
	for _, a := range args {
		flag, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !strings.HasPrefix(a, "-") || flag != name {
			rest = append(rest, a)
		}
	}
	return rest
}

// joinCgroup moves this process into the cgroup of that name, at the top of
// every hierarchy below root.
func joinCgroup(root, name string) error {
	if name == "" || strings.ContainsRune(name, '/') || strings.HasPrefix(name, ".") {
		return fmt.Errorf("--cgroup %q: want the name of a cgroup at the top", name)
	}
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	joined := 0
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		f := strings.Fields(before)
		if !ok || len(f) < 5 || !strings.HasPrefix(after, "cgroup") || !strings.HasPrefix(f[4], root) {
			continue
		}
		if err := joinOne(filepath.Join(f[4], name)); err != nil {
			return err
		}
		joined++
	}
	if joined == 0 {
		return fmt.Errorf("no cgroup hierarchy is mounted below %s", root)
	}
	return nil
}

func joinOne(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	// A new cgroup of v1's cpuset takes nobody before it is filled.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		all, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), all, 0)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// By its number: of "0", v1 would move this thread alone.
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(fmt.Sprint(os.Getpid())), 0)
}
