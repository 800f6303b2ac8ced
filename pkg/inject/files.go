package inject

import (
	"fmt"
	"path"
	"strings"
)

// A File is one that the view answers for a container.
type File struct {
	// Path is absolute, in a container and below a container's directory in
	// the view.
	Path string
	// Base is the mount that holds Path, and Type that mount's type.
	Base, Type string
}

// Files returns the table of the files that are mounted. runc allows binds
// over these paths of /proc and no others (libcontainer, checkProcMount);
// /sys is not restricted.
func Files() []File {
	return []File{
		{"/proc/cpuinfo", "/proc", "proc"},
		{"/proc/meminfo", "/proc", "proc"},
		{"/proc/stat", "/proc", "proc"},
		{"/proc/uptime", "/proc", "proc"},
		{"/proc/loadavg", "/proc", "proc"},
		{"/proc/swaps", "/proc", "proc"},
		{"/proc/diskstats", "/proc", "proc"},
		{"/sys/devices/system/cpu/online", "/sys", "sysfs"},
	}
}

// onDev returns path as a file on the tmpfs that every container has at /dev.
// On anything else there, the host's /dev for one, the runtime would make the
// mount point where the user's files are.
func onDev(path string) File { return File{Path: path, Base: "/dev", Type: "tmpfs"} }

// A Reason is why a part was left out of an injection.
type Reason string

const (
	ViewSilent  Reason = "view-silent"
	ShimMissing Reason = "shim-missing"
	PageMissing Reason = "page-missing"
	OwnMount    Reason = "own-mount"
	NoBase      Reason = "no-base-mount"
	OwnCPUSet   Reason = "own-cpuset"
	CPUManager  Reason = "cpu-manager"
	NoCPUSet    Reason = "no-cpuset"
)

// Reasons returns every reason there is, for metrics that begin at zero.
func Reasons() []Reason {
	return []Reason{ViewSilent, ShimMissing, PageMissing, OwnMount, NoBase, OwnCPUSet, CPUManager, NoCPUSet}
}

// An Omission is a part that was left out of an injection: a path, "view",
// "shim", "size page" or "CPU set".
type Omission struct {
	What string
	Why  Reason
}

// String returns the omission as a sentence.
func (o Omission) String() string {
	switch o.Why {
	case ViewSilent:
		return o.What + " left out: truesize-viewd did not answer when the container was created"
	case ShimMissing:
		return o.What + " left out: its object was not installed when the container was created"
	case PageMissing:
		return o.What + " left out: it could not be written when the container was created; the shim answers by NUM_CPUS"
	case OwnMount:
		return o.What + " left out: the container has a mount of its own there"
	case NoBase:
		return o.What + " left out: the container does not mount the file system it is on"
	case OwnCPUSet:
		return o.What + " left out: the container's specification has one"
	case CPUManager:
		return o.What + " left out: the kubelet's CPU manager gives containers theirs"
	case NoCPUSet:
		return o.What + " left out: the CPUs that the pod may use could not be read; the agent's log says why"
	}
	return fmt.Sprintf("%s left out: %s", o.What, o.Why)
}

// blocked returns why f cannot be mounted beside mounts, empty when it can.
//
// The last mount at a place is the one a process sees. It must be a fresh
// proc or sysfs: over anything else the user put there (the host's /proc, a
// directory) the mount point may not exist, and the user's wish wins.
func (f File) blocked(mounts []Mount) Reason {
	base := false
	for _, m := range mounts {
		switch dest := path.Clean(m.Destination); {
		case dest == f.Base:
			base = m.Type == f.Type
			if !base {
				return OwnMount
			}
		case within(f.Path, dest) && dest != "/":
			return OwnMount
		}
	}
	if !base {
		return NoBase
	}
	return ""
}

// within reports whether p is dir or below it. Both are clean.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
