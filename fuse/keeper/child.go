package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A child is a server: one that this keeper started, or that it adopted.
type child struct {
	pid     int
	pidfd   *os.File
	link    *os.File
	started time.Time
	binary  string

	closed atomic.Bool   // the link is, or is about to be
	ready  chan string   // what it said when it was ready
	dead   chan struct{} // closed when it cannot do anything any more
	ended  func()        // closes dead
	serve  time.Time     // when it was told to serve; zero: not yet
}

// startServer starts a server that waits to be told to serve.
func (h Holdings) startServer(argv []string, stderr io.Writer) (*child, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	link := os.NewFile(uintptr(ours), "link")
	files, err := h.files(theirs)
	unix.Close(theirs)
	if err != nil {
		link.Close()
		return nil, err
	}
	defer closeAll(files)
	pidfd := -1
	cmd := exec.Command(argv[0], append([]string{ServerArg}, argv[1:]...)...)
	cmd.ExtraFiles = files
	cmd.Stderr = stderr
	// A group of its own: what stops the keeper at a terminal is not meant
	// for the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd}
	if err := cmd.Start(); err != nil {
		link.Close()
		return nil, fmt.Errorf("start the server %s: %w", argv[0], err)
	}
	c := newChild(cmd.Process.Pid, pidfd, link, argv[0])
	go c.reap(cmd)
	return c, nil
}

// adopt returns a server that another keeper left.
func adopt(pidfd, link int) (*child, error) {
	pid, err := pidOf(pidfd)
	if err != nil {
		return nil, err
	}
	c := newChild(pid, pidfd, os.NewFile(uintptr(link), "link"), "")
	c.serve = c.started
	go func() {
		c.wait()
		c.ended()
	}()
	return c, nil
}

func newChild(pid, pidfd int, link *os.File, binary string) *child {
	c := &child{
		pid: pid, pidfd: os.NewFile(uintptr(pidfd), "pidfd"), link: link, binary: binary,
		started: time.Now(), ready: make(chan string, 1), dead: make(chan struct{}),
	}
	c.ended = sync.OnceFunc(func() { close(c.dead) })
	go c.listen(int(link.Fd()))
	return c
}

// listen passes on what the server says on fd, which is the link's. The end of
// the link is the server's: it is told before the process has exited, which
// takes milliseconds where the kernel has to wait for readers of what the
// process held, inotify's among them. Descriptors are given back after memory,
// by the last thread: nothing that the process did is under way any more.
func (c *child) listen(fd int) {
	buf := make([]byte, 256)
	for !c.closed.Load() {
		n, err := recvLine(fd, buf)
		if linkEnded(n, err) && !c.closed.Load() {
			c.ended()
		}
		if err != nil || n == 0 {
			return
		}
		if line, ok := strings.CutPrefix(string(buf[:n]), "ready "); ok {
			select {
			case c.ready <- strings.TrimSpace(line):
			default: // it says so once
			}
		}
	}
}

// reap waits for a child of this process.
func (c *child) reap(cmd *exec.Cmd) {
	_ = cmd.Wait()
	c.ended()
}

// wait waits for a process that is another's child.
func (c *child) wait() {
	fds := []unix.PollFd{{Fd: int32(c.pidfd.Fd()), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(fds, -1); n > 0 || (err != nil && err != unix.EINTR) {
			return
		}
	}
}

// goServe tells the server to serve.
func (c *child) goServe() error {
	c.serve = time.Now()
	return sendLine(c.link, "go")
}

func (c *child) kill() {
	_ = unix.PidfdSendSignal(int(c.pidfd.Fd()), unix.SIGKILL, nil, 0)
}

// isDead reports whether the server has ended, waiting for so long.
func (c *child) isDead(wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-c.dead:
		return true
	case <-t.C:
		return false
	}
}

// exited waits for so long until the server's process has gone, which is a
// little after it has ended.
func (c *child) exited(wait time.Duration) {
	fds := []unix.PollFd{{Fd: int32(c.pidfd.Fd()), Events: unix.POLLIN}}
	for deadline := time.Now().Add(wait); ; {
		left := time.Until(deadline)
		if n, err := unix.Poll(fds, int(max(left, 0).Milliseconds())); n > 0 || err != unix.EINTR {
			return
		}
	}
}

func (c *child) close() {
	c.closed.Store(true)
	c.link.Close()
	c.pidfd.Close()
}

// pidOf returns the process of a pidfd.
func pidOf(pidfd int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd))
	if err != nil {
		return 0, err
	}
	var pid int
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			_, err = fmt.Sscan(v, &pid)
			break
		}
	}
	if err != nil || pid == 0 {
		return 0, errors.New("not a pidfd of this pid namespace")
	}
	return pid, nil
}

func sendLine(f *os.File, line string) error {
	return unix.Sendto(int(f.Fd()), []byte(line+"\n"), unix.MSG_NOSIGNAL, nil)
}

func recvLine(fd int, buf []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != unix.EINTR {
			return n, err
		}
	}
}
