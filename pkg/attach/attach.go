// Package attach mounts a view's files in containers that already run, takes
// them off, lists them, and puts live ones in the place of dead ones.
//
// A mount is cloned on the host (open_tree), carried by a thread that enters
// the container's mount namespace (setns), and put over its target
// (move_mount). The thread dies afterwards; the process never changes
// namespaces. What a container can influence is not trusted:
//
//   - its process may exit and its pid be given to another: it is held by a
//     pidfd and told apart by its start time;
//   - paths are resolved inside its namespace only, through no symbolic link
//     (openat2), from a directory that the kernel's mount table says is the
//     root of a procfs or sysfs;
//   - what is mounted over a target is known by its mount's id, file system
//     type and device, never by touching it: a file system of the container's
//     own may never answer. Where a walk must cross one, it has a deadline;
//   - a mount that would propagate to the host is refused.
//
// Kernel 5.10 or later. The package imports no other of the module's.
package attach

import (
	"errors"
	"time"
)

// FSType is what the mount table says of the type of a view's mounts.
const FSType = "fuse.truesize"

// Source is what the mount table says of the source of the mounts of the view
// in runDir. It tells them from those of another instance on the same kernel,
// which are none of this one's business.
func Source(runDir string) string { return "truesize:" + runDir }

var (
	// ErrGone says that the process has exited, or is another by now.
	ErrGone = errors.New("the container's process has exited")
	// ErrHost says that the process runs in the host's mount namespace.
	ErrHost = errors.New("the process is in the host's mount namespace: there is nothing to attach to")
	// ErrOwnMount says that the container has a mount of its own at a target.
	ErrOwnMount = errors.New("the container has a mount of its own there")
	// ErrNotGenuine says that a container's /proc or /sys is not the root of
	// a procfs or sysfs.
	ErrNotGenuine = errors.New("not the root of the file system it should be")
	// ErrNoTarget says that a file does not exist in the container.
	ErrNoTarget = errors.New("the file does not exist in the container")
	// ErrPropagates says that a mount there would appear on the host too.
	ErrPropagates = errors.New("a mount there would propagate to the host")
	// ErrViewDead says that the view does not answer.
	ErrViewDead = errors.New("the view does not answer: is truesize-viewd running?")
	// ErrStuck says that a container's own file system did not answer in time.
	ErrStuck = errors.New("a file system of the container's own does not answer")
)

// A Process is the process whose mount namespace is worked in.
type Process struct {
	// PID is its id in the pid namespace of Options.ProcRoot.
	PID int
	// StartTicks is field 22 of /proc/PID/stat, in clock ticks since boot; 0
	// is not compared.
	StartTicks uint64
}

// A File is one to be mounted.
type File struct {
	// Source is its path on the host. It must not lie where a container can
	// write.
	Source string
	// Target is the path in the container, below /proc or /sys.
	Target string
}

// An Outcome is what became of one file.
type Outcome string

const (
	Attached Outcome = "attached" // it is mounted now
	Replaced Outcome = "replaced" // it is mounted now, in the place of a stale one
	Present  Outcome = "present"  // it was mounted already
	Detached Outcome = "detached" // it is not mounted any more
	Refused  Outcome = "refused"  // nothing was done; Result.Err says why
)

// A Result tells what became of one target.
type Result struct {
	Target  string
	Outcome Outcome
	Err     error
}

// Options say where things are. The zero value is not usable: see [New].
type Options struct {
	// RunDir is the run directory whose view is meant. Its path is the same
	// in a pod as on the host.
	RunDir string
	// ProcRoot is a procfs of the host's pid namespace: "/proc" on the host
	// and in a pod with hostPID.
	ProcRoot string
	// Timeout is how long a container's own file systems are waited for.
	Timeout time.Duration
}
