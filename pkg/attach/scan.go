package attach

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/truesize/truesize/pkg/procfs"
)

// A Namespace is a mount namespace in which views are mounted.
type Namespace struct {
	// Process is one of those that live in it.
	Process Process
	// Inode is the namespace's number.
	Inode uint64
	// Views are the view's mounts in it, in the order of mounting.
	Views []Mount
}

// Namespaces returns the node's mount namespaces, other than the host's and
// the caller's, in which views are mounted: those of containers, and those
// that processes of containers made for themselves. One that no process
// lives in is not seen, nor one of processes that this one may not look at.
func (a *Attacher) Namespaces() ([]Namespace, error) {
	root := a.opts.ProcRoot
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	outside, err := outsideOf(root)
	if err != nil {
		return nil, err
	}
	seen := outside.namespaces
	var (
		list []Namespace
		errs []error
	)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		ns, err := a.look(pid, seen)
		switch {
		case err == nil && len(ns.Views) > 0:
			list = append(list, ns)
		case err != nil && !errors.Is(err, os.ErrPermission) && !exited(root, pid):
			errs = append(errs, err)
		}
	}
	return list, errors.Join(errs...)
}

// look reads the mount namespace of a process, unless it was seen before.
func (a *Attacher) look(pid int, seen map[uint64]bool) (Namespace, error) {
	dir := filepath.Join(a.opts.ProcRoot, strconv.Itoa(pid))
	inode, err := namespaceInode(filepath.Join(dir, "ns/mnt"))
	if err != nil || seen[inode] {
		return Namespace{}, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "mountinfo"))
	if err != nil {
		return Namespace{}, err
	}
	seen[inode] = true
	if !bytes.Contains(data, []byte(" - "+FSType+" ")) {
		return Namespace{}, nil
	}
	stat, err := procfs.ReadStat(a.opts.ProcRoot, pid)
	if err != nil {
		return Namespace{}, err
	}
	ns := Namespace{Process: Process{PID: pid, StartTicks: stat.Start}, Inode: inode}
	table, err := parseMountinfo(data)
	for _, m := range table {
		if m.isView(Source(a.opts.RunDir)) {
			ns.Views = append(ns.Views, m)
		}
	}
	return ns, err
}

// exited reports whether a process is gone or about to: its namespaces go
// before it becomes a zombie.
func exited(root string, pid int) bool {
	dir := filepath.Join(root, strconv.Itoa(pid))
	if _, err := namespaceInode(filepath.Join(dir, "ns/mnt")); errors.Is(err, os.ErrNotExist) {
		return true
	}
	stat, err := procfs.ReadStat(root, pid)
	return err != nil || stat.State == 'Z' || stat.State == 'X'
}

// SameContainer reports whether process p belongs to the container of which
// init is the first process: it shares its mount namespace or its pid
// namespace, and that is not this process's. procRoot is the host's procfs.
func SameContainer(procRoot string, p, init Process) bool {
	h, err := openProcess(procRoot, init)
	if err != nil {
		return false
	}
	defer h.close()
	other, err := openProcess(procRoot, p)
	if err != nil {
		return false
	}
	defer other.close()
	if h.mountNS == other.mountNS {
		return true
	}
	pid := func(of string) uint64 {
		inode, _ := namespaceInode(filepath.Join(procRoot, of, "ns/pid"))
		return inode
	}
	mine, its, inits := pid("thread-self"), pid(strconv.Itoa(p.PID)), pid(strconv.Itoa(init.PID))
	return its != 0 && its == inits && its != mine && h.alive() && other.alive()
}

// An outside is what is not a container's: the mount namespaces of this
// process and of the host's init, and the peer groups of the mounts in them.
type outside struct {
	namespaces map[uint64]bool
	groups     map[uint64]bool
}

func outsideOf(root string) (outside, error) {
	o := outside{make(map[uint64]bool), make(map[uint64]bool)}
	for _, process := range []string{"thread-self", "1"} {
		inode, err := namespaceInode(filepath.Join(root, process, "ns/mnt"))
		// An init with more capabilities than this process must not be looked
		// at (ptrace(2)); nor could its namespace be entered.
		if process == "1" && errors.Is(err, os.ErrPermission) {
			continue
		}
		if err != nil {
			return o, err
		}
		table, err := tableOf(root, process)
		if err != nil {
			return o, err
		}
		o.namespaces[inode] = true
		for _, m := range table {
			if m.Shared != 0 {
				o.groups[m.Shared] = true
			}
		}
	}
	return o, nil
}

// tableOf returns the mounts that a process sees.
func tableOf(root, process string) ([]Mount, error) {
	data, err := os.ReadFile(filepath.Join(root, process, "mountinfo"))
	if err != nil {
		return nil, err
	}
	return parseMountinfo(data)
}
