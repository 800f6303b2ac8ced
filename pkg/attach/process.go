package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/truesize/truesize/pkg/procfs"
	"golang.org/x/sys/unix"
)

// A handle holds a process: its pidfd names that process and no later one of
// the same pid.
type handle struct {
	pid     int
	pidfd   int
	proc    int    // the host's procfs
	mountNS uint64 // inode of its mount namespace
	host    map[uint64]bool
}

// openProcess takes hold of p and checks that it is the process meant.
func openProcess(procRoot string, p Process) (*handle, error) {
	pidfd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("process %d: %w", p.PID, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd_open %d: %w", p.PID, err)
	}
	h := &handle{pid: p.PID, pidfd: pidfd, proc: -1}
	if err := h.open(procRoot, p.StartTicks); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *handle) open(procRoot string, wantStart uint64) (err error) {
	h.proc, err = unix.Open(procRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: procRoot, Err: err}
	}
	dir := filepath.Join(procRoot, strconv.Itoa(h.pid))
	stat, err := procfs.ReadStat(procRoot, h.pid)
	inode, nerr := namespaceInode(filepath.Join(dir, "ns/mnt"))
	// What was read is of the process held if that one still runs: a pid is
	// not given away before its process is reaped.
	// One that is exiting gives up its namespaces before its pid.
	if !h.alive() || errors.Is(nerr, os.ErrNotExist) || (err == nil && wantStart != 0 && stat.Start != wantStart) {
		return fmt.Errorf("process %d: %w", h.pid, ErrGone)
	}
	if err := errors.Join(err, nerr); err != nil {
		return err
	}
	h.mountNS = inode
	outside, err := outsideOf(procRoot)
	if err != nil {
		return err
	}
	if outside.namespaces[inode] {
		return fmt.Errorf("process %d: %w", h.pid, ErrHost)
	}
	h.host = outside.groups
	return nil
}

// alive reports whether the process has not exited.
func (h *handle) alive() bool {
	fds := []unix.PollFd{{Fd: int32(h.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return err == nil && n == 0
		}
	}
}

func (h *handle) close() {
	unix.Close(h.pidfd)
	if h.proc >= 0 {
		unix.Close(h.proc)
	}
}

// onSpareThread runs fn on a thread that ends with it, in a goroutine of its
// own. It is never the process's first thread: Go cannot end that one, and
// /proc/self would show its namespace as the process's ever after.
func onSpareThread(fn func()) {
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			fn()
			return
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
			fn()
		}()
		<-done // holds the first thread meanwhile
		runtime.UnlockOSThread()
	}()
}

// inNamespace runs fn in the mount namespace of the process, which the calling
// thread, a spare one, enters and does not leave. view is the source of the
// view's mounts.
func (h *handle) inNamespace(view string, fn func(*namespace) ([]Result, error)) ([]Result, error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("unshare the file system attributes of a thread: %w", err)
	}
	if err := unix.Setns(h.pidfd, unix.CLONE_NEWNS); err != nil {
		if err == unix.ESRCH {
			return nil, fmt.Errorf("process %d: %w", h.pid, ErrGone)
		}
		return nil, fmt.Errorf("enter the mount namespace of process %d: %w", h.pid, err)
	}
	ns := &namespace{proc: h.proc, host: h.host, view: view}
	defer ns.close()
	if err := ns.open(); err != nil {
		return nil, err
	}
	return fn(ns)
}

// namespaceInode returns the number that tells a namespace from others.
func namespaceInode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}
