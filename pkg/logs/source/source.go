// Package source knows how log files are laid out and named on a node. It is
// pure: names in, meaning out.
package source

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// A Kind is a layout of log files below a root directory.
type Kind string

const (
	// Pods is the kubelet's: NAMESPACE_POD_UID/CONTAINER/RESTART.log.
	Pods Kind = "pods"
	// Docker is dockerd's json-file driver's: ID/ID-json.log.
	Docker Kind = "docker"
	// Files is a directory of files named *.log, of plain text or either
	// runtime's format.
	Files Kind = "files"
)

// ParseKind returns the kind of a name.
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case Pods, Docker, Files:
		return k, nil
	}
	return "", fmt.Errorf("source kind %q: want pods, docker or files", s)
}

// Depth is how many directories below the root the log files' directory is.
func (k Kind) Depth() int {
	switch k {
	case Pods:
		return 2
	case Docker:
		return 1
	}
	return 0
}

// A Ref names a container as far as its directory does.
type Ref struct {
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	UID       string `json:"uid,omitempty"`
	Container string `json:"container,omitempty"`
	// Restart is how often the kubelet started the container before.
	Restart int `json:"restart,omitempty"`
}

// ParseDir returns whose logs are in a directory, given relative to the root,
// and whether its name is one of the kind's.
func (k Kind) ParseDir(rel string) (Ref, bool) {
	switch k {
	case Docker:
		return Ref{Container: rel}, rel != "" && !strings.Contains(rel, "/")
	case Files:
		return Ref{}, true
	}
	pod, container, ok := strings.Cut(rel, "/")
	if !ok || container == "" || strings.Contains(container, "/") {
		return Ref{}, false
	}
	part := strings.Split(pod, "_")
	if len(part) != 3 || part[0] == "" || part[1] == "" || part[2] == "" {
		return Ref{}, false
	}
	return Ref{Namespace: part[0], Pod: part[1], UID: part[2], Container: container}, true
}

// A Name is what a log file's name says.
type Name struct {
	// Base is the same for all files of one output: "0" of "0.log",
	// "0.log.20240501-100000" and "0.log.20240501-100000.gz".
	Base string
	// Rotation tells rotated files apart; empty is the file being written.
	Rotation string
	Gzip     bool
}

// ParseName returns what a file's name says, and false for a name that no log
// file of the kind has: another file's, or a rotation's temporary one.
func (k Kind) ParseName(name string) (Name, bool) {
	base, rest, ok := cutLog(name)
	if !ok || base == "" || base[0] == '.' {
		return Name{}, false
	}
	if k == Pods && !digits(base) {
		return Name{}, false
	}
	n := Name{Base: base}
	if rest == "" {
		return n, true
	}
	if rest[0] != '.' && rest[0] != '-' {
		return Name{}, false
	}
	rest = rest[1:]
	if r, ok := strings.CutSuffix(rest, ".gz"); ok {
		rest, n.Gzip = r, true
	}
	if rest == "" || rest == "gz" || strings.HasSuffix(rest, ".tmp") || rest == "tmp" {
		return Name{}, false
	}
	n.Rotation = rest
	return n, true
}

// cutLog parts a name at its ".log".
func cutLog(name string) (base, rest string, ok bool) {
	for i := 0; ; {
		j := strings.Index(name[i:], ".log")
		if j < 0 {
			return "", "", false
		}
		i += j
		rest = name[i+len(".log"):]
		if rest == "" || rest[0] == '.' || rest[0] == '-' {
			return name[:i], rest, true
		}
		i += len(".log")
	}
}

// Restart returns the number in a base name of the kind Pods, else 0.
func (n Name) Restart() int {
	r, err := strconv.Atoi(n.Base)
	if err != nil {
		return 0
	}
	return r
}

// Compare orders the files of one base by age: negative when a is older.
// Rotations that are numbers count up with age (logrotate, Docker); others are
// times (kubelet). The file being written is the youngest.
func Compare(a, b Name) int {
	switch {
	case a.Rotation == "" || b.Rotation == "":
		return cmp.Compare(btoi(a.Rotation == ""), btoi(b.Rotation == ""))
	case len(a.Rotation) <= 5 && len(b.Rotation) <= 5 && digits(a.Rotation) && digits(b.Rotation):
		x, _ := strconv.Atoi(a.Rotation)
		y, _ := strconv.Atoi(b.Rotation)
		return cmp.Compare(y, x)
	}
	return cmp.Compare(a.Rotation, b.Rotation)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
