// Package netns opens network namespaces by path and runs code inside them.
package netns

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotExist says that nothing is at the path: the namespace, or at least
	// its name, is gone.
	ErrNotExist = errors.New("no such network namespace")
	// ErrNotNS says that what is at the path is no network namespace.
	ErrNotNS = errors.New("not a network namespace")
)

// A NS is an open network namespace; being open keeps it alive.
type NS struct {
	fd   int
	path string
	id   ID
	here bool // it is the namespace of the goroutines that use it
}

// An ID is a namespace's identity while it exists: device and inode of nsfs.
type ID struct{ Dev, Ino uint64 }

// Open opens the namespace at path. The error wraps [ErrNotExist], [ErrNotNS]
// or is the file system's.
func Open(path string) (*NS, error) {
	// O_NONBLOCK: opening a named pipe at path must not hang.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("%w: %s", ErrNotExist, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	ns := &NS{fd: fd, path: path}
	if err := ns.identify(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return ns, nil
}

// Current opens the namespace of the calling goroutine's thread. Do of what it
// returns calls its function in place; so it is for goroutines that are always
// in this namespace: all of a program that leaves it by Do only, or one that
// is locked to a thread elsewhere.
func Current() (*NS, error) {
	ns, err := current()
	if err == nil {
		ns.here = true
	}
	return ns, err
}

func current() (*NS, error) {
	return Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
}

func (n *NS) identify() error {
	kind, err := unix.IoctlRetInt(n.Fd(), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%w: %s", ErrNotNS, n.path)
	}
	var st unix.Stat_t
	if err := unix.Fstat(n.Fd(), &st); err != nil {
		return fmt.Errorf("stat network namespace %s: %w", n.path, err)
	}
	n.id = ID{Dev: st.Dev, Ino: st.Ino}
	return nil
}

// Close lets go of the namespace.
func (n *NS) Close() error { return unix.Close(n.fd) }

// Fd returns its descriptor, valid until Close.
func (n *NS) Fd() int { return n.fd }

// Path returns the path by which it was opened.
func (n *NS) Path() string { return n.path }

// ID returns its identity.
func (n *NS) ID() ID { return n.id }

// Here reports whether the callers are in the namespace: see [Current].
func (n *NS) Here() bool { return n.here }

// Do calls f on a thread that is in the namespace. Sockets made by f stay in
// it; goroutines started by f are not in it.
func (n *NS) Do(f func() error) error {
	if n.here {
		return f()
	}
	runtime.LockOSThread()
	home, err := current()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(n.Fd(), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", n.path, err)
	}
	err = f()
	if back := unix.Setns(home.Fd(), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, so the runtime ends it with its goroutine
		// and nothing else ever runs in the wrong namespace.
		return errors.Join(err, fmt.Errorf("leave network namespace %s: %w", n.path, back))
	}
	runtime.UnlockOSThread()
	return err
}

// Inhabited reports whether any process of the proc file system at proc is in
// the namespace. Processes that end meanwhile are in none; one that cannot be
// looked at is an error, but for the node's init, which is in no pod and which
// security modules like to hide.
func Inhabited(proc string, id ID) (bool, error) {
	links, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "ns", "net"))
	if err != nil {
		return false, fmt.Errorf("list processes: %w", err)
	}
	if len(links) == 0 {
		return false, fmt.Errorf("list processes: %s has none", proc)
	}
	init := filepath.Join(proc, "1", "ns", "net")
	for _, l := range links {
		if l == init {
			continue
		}
		var st unix.Stat_t
		err := unix.Stat(l, &st)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("look at %s: %w", l, err)
		}
		if (ID{Dev: st.Dev, Ino: st.Ino}) == id {
			return true, nil
		}
	}
	return false, nil
}
