package attach

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Device is the number of a mounted file system.
type Device struct{ Major, Minor uint32 }

func deviceOf(dev uint64) Device {
	return Device{Major: unix.Major(dev), Minor: unix.Minor(dev)}
}

// A Mount is a line of a mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID     int
	Parent int // ID of the mount it is mounted on
	Device Device
	// Root is the path, within the file system, of what is mounted.
	Root string
	// Target is where it is mounted, seen from the root of the namespace.
	Target string
	// Shared is the number of its peer group, 0 when it is not shared.
	Shared uint64
	Type   string
	Source string
}

// isView reports whether the mount is one of a view's with that source, of the
// one that runs or of an earlier one. A container can make one that looks like
// it, in its own namespace: it only gets that taken away.
func (m Mount) isView(source string) bool { return m.Type == FSType && m.Source == source }

// IsWhole reports whether the mount is of a view's root: the view itself, and
// what a container sees that has the host's /run.
func (m Mount) IsWhole() bool { return m.Root == "/" }

// Container returns the id of the container whose file m mounts, empty when m
// is the whole view.
func (m Mount) Container() string {
	id, _, _ := strings.Cut(strings.TrimPrefix(m.Root, "/"), "/")
	return id
}

// parseMountinfo parses a mountinfo. Lines that it cannot read are left out
// and make it return an error beside the rest.
func parseMountinfo(data []byte) ([]Mount, error) {
	var (
		list []Mount
		bad  error
	)
	for line := range bytes.Lines(data) {
		m, err := parseMount(strings.TrimSuffix(string(line), "\n"))
		if err != nil {
			bad = fmt.Errorf("mountinfo: %w: %.200q", err, line)
			continue
		}
		list = append(list, m)
	}
	return list, bad
}

// parseMount parses one line:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime shared:1 master:2 - ext3 /dev/root rw
func parseMount(line string) (Mount, error) {
	left, right, ok := strings.Cut(line, " - ")
	f, super := strings.Split(left, " "), strings.Split(right, " ")
	if !ok || len(f) < 6 || len(super) < 2 {
		return Mount{}, errors.New("fields are missing")
	}
	id, err := strconv.Atoi(f[0])
	if err != nil {
		return Mount{}, err
	}
	parent, err := strconv.Atoi(f[1])
	if err != nil {
		return Mount{}, err
	}
	major, minor, _ := strings.Cut(f[2], ":")
	ma, err := strconv.ParseUint(major, 10, 32)
	if err != nil {
		return Mount{}, err
	}
	mi, err := strconv.ParseUint(minor, 10, 32)
	if err != nil {
		return Mount{}, err
	}
	m := Mount{
		ID:     id,
		Parent: parent,
		Device: Device{uint32(ma), uint32(mi)},
		Root:   unescape(f[3]), Target: unescape(f[4]),
		Type: unescape(super[0]), Source: unescape(super[1]),
	}
	for _, tag := range f[6:] {
		if n, ok := strings.CutPrefix(tag, "shared:"); ok {
			if m.Shared, err = strconv.ParseUint(n, 10, 64); err != nil {
				return Mount{}, err
			}
		}
	}
	return m, nil
}

// unescape undoes the kernel's mangling: a backslash and three octal digits.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
