package attach

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxStack bounds the mounts over one target that are taken off in one call.
const maxStack = 16

// maxTable bounds a mount table in bytes: the kernel's own limit of 100,000
// mounts in a namespace, of 160 bytes each.
const maxTable = 16 << 20

// A namespace is the mount namespace that the calling thread is in. The
// container's names are resolved from its root; /proc is the host's, by a
// descriptor from before.
type namespace struct {
	root int
	proc int             // the host's procfs
	host map[uint64]bool // peer groups of the host's mounts
	view string          // source of the view's mounts
}

func (ns *namespace) open() (err error) {
	ns.root, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		ns.root = -1
		return fmt.Errorf("open the root of the namespace: %w", err)
	}
	return nil
}

func (ns *namespace) close() {
	if ns.root >= 0 {
		unix.Close(ns.root)
	}
}

func (ns *namespace) attachAll(clones []*clone) []Result {
	results := make([]Result, len(clones))
	for i, c := range clones {
		outcome, err := ns.attach(c)
		results[i] = Result{Target: c.target, Outcome: outcome, Err: err}
	}
	return results
}

// attach puts c over its target.
func (ns *namespace) attach(c *clone) (Outcome, error) {
	base, rel, err := splitTarget(c.target)
	if err != nil {
		return Refused, err
	}
	dir, err := ns.openBase(base)
	if err != nil {
		return Refused, err
	}
	defer unix.Close(dir)
	parent, err := resolve(dir, path.Dir(rel), unix.O_DIRECTORY, unix.RESOLVE_NO_XDEV)
	if err != nil {
		return Refused, targetError(c.target, err)
	}
	defer unix.Close(parent)

	outcome := Attached
	for range maxStack {
		found, err := ns.tryAttach(c, parent, path.Base(rel))
		switch {
		case err != nil:
			return Refused, err
		case found == again:
			outcome = Replaced
		case found == there:
			return Present, nil
		default:
			return outcome, nil
		}
	}
	return Refused, fmt.Errorf("%s: over %d mounts of earlier views", c.target, maxStack)
}

// A step is what one try of attach found.
type step int

const (
	mounted step = iota // c is mounted
	there               // it was already
	again               // a stale mount was taken off
)

// tryAttach mounts c over name in the directory parent, or takes one stale
// mount off it.
func (ns *namespace) tryAttach(c *clone, parent int, name string) (step, error) {
	fd, err := resolve(parent, name, 0, unix.RESOLVE_NO_XDEV)
	if err == nil {
		defer unix.Close(fd)
		return mounted, ns.mount(c, fd)
	}
	if err != unix.EXDEV {
		return 0, targetError(c.target, err)
	}
	fd, err = resolve(parent, name, 0, 0) // O_PATH: what is mounted there is not asked
	if err != nil {
		return 0, targetError(c.target, err)
	}
	defer unix.Close(fd)
	m, err := ns.mountOf(fd)
	switch {
	case err != nil:
		return 0, err
	case !m.isView(ns.view):
		return 0, fmt.Errorf("%s: %w: %s", c.target, ErrOwnMount, m.Type)
	case m.Device == c.device && strings.HasSuffix(c.source, m.Root):
		return there, nil
	}
	err = unmount(parent, name)
	if err == unix.EINVAL { // locked: it came with a namespace of more rights
		return mounted, ns.mount(c, fd)
	}
	if err != nil {
		return 0, fmt.Errorf("unmount %s: %w", c.target, err)
	}
	return again, nil
}

// mount puts c over target.
func (ns *namespace) mount(c *clone, target int) error {
	const flags = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	if err := unix.MoveMount(c.fd, "", target, "", flags); err != nil {
		return fmt.Errorf("move_mount to %s: %w", c.target, err)
	}
	if c.sealed {
		return nil
	}
	return ns.seal(c)
}

// seal sets the attributes of a clone that is mounted by now, or takes it off.
// It is found by its descriptor: the container may have mounted something else
// over the target meanwhile.
func (ns *namespace) seal(c *clone) error {
	if err := unix.Fchdir(ns.proc); err != nil { // this thread's alone
		return err
	}
	name := "thread-self/fd/" + strconv.Itoa(c.fd)
	const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("", name, "", flags, ""); err != nil {
		return errors.Join(fmt.Errorf("make the mount on %s read-only: %w", c.target, err), unix.Unmount(name, unix.MNT_DETACH))
	}
	return nil
}

// detachAll takes off the view's mounts that keep does not want, the last
// mounted first. The table's order tells that nearly always; a mount that was
// under another one is taken in the next round.
func (ns *namespace) detachAll(keep func(Mount) bool) ([]Result, error) {
	var done, refused []Result
	for range maxStack {
		table, err := ns.table()
		if err != nil {
			return done, err
		}
		refused = nil
		before := len(done)
		for i := len(table) - 1; i >= 0; i-- {
			m := table[i]
			if !m.isView(ns.view) || keep(m) {
				continue
			}
			if err := ns.detach(table, m); err != nil {
				refused = append(refused, Result{Target: m.Target, Outcome: Refused, Err: err})
			} else {
				done = append(done, Result{Target: m.Target, Outcome: Detached})
			}
		}
		if len(refused) == 0 || len(done) == before {
			break
		}
	}
	return append(done, refused...), nil
}

// detach takes m off. It is found by its path, and left alone when another
// mount is there by now or on top of it.
func (ns *namespace) detach(table []Mount, m Mount) error {
	parent, err := resolve(ns.root, relative(path.Dir(m.Target)), unix.O_DIRECTORY, 0)
	if err != nil {
		return targetError(m.Target, err)
	}
	defer unix.Close(parent)
	fd, err := resolve(parent, path.Base(m.Target), 0, 0)
	if err != nil {
		return targetError(m.Target, err)
	}
	top, err := ns.mountOf(fd)
	unix.Close(fd)
	switch {
	case err != nil:
		return err
	case top.ID != m.ID:
		return fmt.Errorf("%s: %w: on top of the view", m.Target, ErrOwnMount)
	case ns.propagates(parentOf(table, m)):
		return fmt.Errorf("%s: %w", m.Target, ErrPropagates)
	}
	if err := unmount(parent, path.Base(m.Target)); err != nil {
		return fmt.Errorf("unmount %s: %w", m.Target, err)
	}
	return nil
}

// unmount takes off the top mount on name in parent. By the directory's
// descriptor: /proc/self/fd would be the container's.
func unmount(parent int, name string) error {
	if err := unix.Fchdir(parent); err != nil { // this thread's alone: CLONE_FS was unshared
		return err
	}
	return unix.Unmount(name, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
}

// openBase opens /proc or /sys, checked to be the root of that file system
// and not to propagate what is mounted in it to the host.
func (ns *namespace) openBase(b base) (int, error) {
	fd, err := resolve(ns.root, b.name, unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, targetError("/"+b.name, err)
	}
	m, err := ns.mountOf(fd)
	switch {
	case err != nil:
	case m.Type != b.fsType || m.Root != "/":
		err = fmt.Errorf("/%s: %w: it is %s of a %s", b.name, ErrNotGenuine, m.Root, m.Type)
	case ns.propagates(m):
		err = fmt.Errorf("/%s: %w", b.name, ErrPropagates)
	default:
		return fd, nil
	}
	unix.Close(fd)
	return -1, err
}

// propagates reports whether what happens on m happens on the host, too.
func (ns *namespace) propagates(m Mount) bool { return m.Shared != 0 && ns.host[m.Shared] }

// mountOf returns the mount that fd is on. The kernel's table is asked, not
// the file: fd keeps the mount, and so its id, alive.
func (ns *namespace) mountOf(fd int) (Mount, error) {
	info, err := readAt(ns.proc, "thread-self/fdinfo/"+strconv.Itoa(fd))
	if err != nil {
		return Mount{}, err
	}
	id, err := parseMountID(info)
	if err != nil {
		return Mount{}, err
	}
	table, err := ns.table()
	for _, m := range table {
		if m.ID == id {
			return m, nil
		}
	}
	return Mount{}, errors.Join(errors.New("the mount has just been taken away"), err)
}

// table returns the mounts of the namespace, in the order of mounting.
func (ns *namespace) table() ([]Mount, error) {
	data, err := readAt(ns.proc, "thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMountinfo(data)
}

// parentOf returns the mount that m is mounted on.
func parentOf(table []Mount, m Mount) Mount {
	for _, p := range table {
		if p.ID == m.Parent {
			return p
		}
	}
	return Mount{}
}
