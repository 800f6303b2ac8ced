package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// errRefused says that what is in a log file's place will not be read.
	errRefused = errors.New("refused")
	// errNotRegular is for a FIFO, device, socket or directory.
	errNotRegular = fmt.Errorf("%w: not a regular file", errRefused)
	// errOutside is for a link that leads out of the log's root.
	errOutside = fmt.Errorf("%w: the link leaves the log directories; list its target's under sources[].links if it may be read", errRefused)
)

// inode identifies a file as long as it is open or has a name.
type inode struct{ dev, ino uint64 }

// openLog opens a log file that lies, after all links, below one of roots,
// which hold no links themselves. Nothing but a regular file is opened for
// reading: opening a device can do things.
func openLog(path string, roots []string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, st, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, st, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, st, &os.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	// What was opened is looked at, not the name: that can change any time.
	self := fmt.Sprintf("/proc/self/fd/%d", fd)
	real, err := os.Readlink(self)
	if err != nil {
		return nil, st, err
	}
	if !within(strings.TrimSuffix(real, " (deleted)"), roots) {
		return nil, st, &os.PathError{Op: "open", Path: path, Err: errOutside}
	}
	f, err := os.OpenFile(self, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, st, &os.PathError{Op: "open", Path: path, Err: errors.Unwrap(err)}
	}
	return f, st, nil
}

func within(path string, roots []string) bool {
	for _, r := range roots {
		if rest, ok := strings.CutPrefix(path, r); ok && (r == "/" || strings.HasPrefix(rest, "/")) {
			return true
		}
	}
	return false
}

// realRoots resolves the links in the roots' own paths. Those that do not
// exist are left out.
func realRoots(roots []string) []string {
	var out []string
	for _, r := range roots {
		if p, err := filepath.EvalSymlinks(r); err == nil {
			out = append(out, p)
		}
	}
	return out
}
