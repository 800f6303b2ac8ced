package stack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLeft says that a stack could not be taken down whole.
var ErrLeft = errors.New("something of the stack is left: `make down` tries again")

// sweep removes all that is left of stack id: its processes, mounts,
// cgroups, bridge and, when nothing is mounted below it any more, its
// directory. What is not there is no error, so it can be repeated. An error
// wraps [ErrLeft].
func sweep(id, repo string) error {
	if err := sweepAll(id, repo); err != nil {
		return fmt.Errorf("%w: %w", ErrLeft, err)
	}
	return nil
}

func sweepAll(id, repo string) error {
	dir := dirOf(id)
	err := removeUnit(dir)
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	// A process that was starting another may escape one pass; one that is
	// dying holds its cgroup a moment longer.
	for range 100 {
		found := killProcesses(id, dir, repo)
		err = errors.Join(unmountBelow(dir), removeCgroups(cgroupOf(id)))
		if err == nil && found == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	err = errors.Join(err, removeBridge(bridgeOf(id)), removeCNICache(networkOf(id)))
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return removeDir(dir)
}

// removeDir removes the stack's directory, its state file last: until then
// another process can take the removal over.
func removeDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove stack: %w", err)
	}
	if below, err := mountsBelow(dir); err != nil || len(below) > 0 {
		return errors.Join(err, fmt.Errorf("remove %s: mounted below it: %v", dir, below))
	}
	for _, e := range entries {
		if e.Name() != stateFile {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("remove stack: %w", err)
	}
	return os.RemoveAll(dir)
}

// killProcesses kills the stack's processes: those in its cgroups, and the
// programs of the repository's bin/ that name its directory in their
// arguments. It returns how many there were.
func killProcesses(id, dir, repo string) int {
	found := 0
	for _, root := range cgroupDirs(cgroupOf(id)) {
		walkCgroup(root, func(cgroup string) {
			data, _ := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
			for _, line := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(line); err == nil && unix.Kill(pid, unix.SIGKILL) == nil {
					found++
				}
			}
		})
	}
	return found + signal(dir, repo, "*", unix.SIGKILL)
}

// terminate asks the stack's processes of a program to end and waits ten
// seconds for them.
func terminate(dir, repo, program string) {
	deadline := time.Now().Add(10 * time.Second)
	for sig := unix.SIGTERM; signal(dir, repo, program, sig) > 0 && time.Now().Before(deadline); sig = 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

// signal sends sig (0: none) to the stack's processes of a program, which
// may be a pattern, and returns how many there are.
func signal(dir, repo, program string, sig unix.Signal) int {
	found := 0
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil || pid == os.Getpid() || !belongs(p, dir, repo, program) {
			continue
		}
		if unix.Kill(pid, sig) == nil {
			found++
		}
	}
	return found
}

// belongs says whether the process at a /proc directory is a program of the
// repository that names the stack's directory in its arguments.
func belongs(proc, dir, repo, program string) bool {
	exe, err := os.Readlink(filepath.Join(proc, "exe"))
	if err != nil || repo == "" {
		return false
	}
	// A program that was built again since is named with this suffix.
	exe = strings.TrimSuffix(exe, " (deleted)")
	ok, _ := filepath.Match(program, filepath.Base(exe))
	if !ok || !strings.HasPrefix(exe, filepath.Join(repo, "bin")+"/") {
		return false
	}
	args, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	return err == nil && bytes.Contains(args, []byte(dir))
}

// removeCNICache removes what libcni has cached of the stack's pods, which
// it does in a directory of the node.
func removeCNICache(network string) error {
	files, err := filepath.Glob(filepath.Join("/var/lib/cni/results", network+"-*"))
	if err != nil {
		return fmt.Errorf("list CNI cache: %w", err)
	}
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	// Gone if they were the stack's alone.
	os.Remove("/var/lib/cni/results")
	os.Remove("/var/lib/cni")
	return err
}
