package main

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// prepares is the role of a process that reads files of the view for the
// kernel's cache: truesize-viewd prepare DIR reads those below DIR that its
// standard input names, a line each, until that ends.
const prepares role = "prepare"

// prepareReads is that process. What cannot be read is passed over: its reader
// is going to find out.
func prepareReads(dir string, names io.Reader) error {
	buf := make([]byte, 16<<10)
	lines := bufio.NewScanner(names)
	for lines.Scan() {
		if name := lines.Text(); filepath.IsLocal(name) {
			readThrough(filepath.Join(dir, name), buf)
		}
	}
	return lines.Err()
}

// readThrough reads a file to its end, by system calls: nothing is allocated.
func readThrough(path string, buf []byte) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for {
		if n, err := unix.Read(fd, buf); n <= 0 && err != unix.EINTR {
			return
		}
	}
}

// A preparer is the server's side of such a process. It is started when there
// is something to prepare for the first time, and again when it has ended.
type preparer struct {
	dir string // the view's root
	log *slog.Logger

	mu    sync.Mutex
	names int       // the process's standard input, not blocking; -1: none
	after time.Time // not to start one before
}

func newPreparer(dir string, log *slog.Logger) *preparer {
	return &preparer{dir: dir, log: log, names: -1}
}

// prepareRetry is how long after one process another is started at the
// earliest.
const prepareRetry = 10 * time.Second

// Prepare implements [fuse.Preparer].
func (p *preparer) Prepare(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names < 0 && !p.start() {
		return false
	}
	// Short of PIPE_BUF, a line is written whole or, when the pipe is full
	// because the process is behind, not at all.
	_, err := unix.Write(p.names, []byte(path+"\n"))
	if err != nil && err != unix.EAGAIN {
		p.stop()
	}
	return err == nil
}

// start starts the process. mu is held.
func (p *preparer) start() bool {
	now := time.Now()
	if now.Before(p.after) {
		return false
	}
	p.after = now.Add(prepareRetry)
	if err := p.run(); err != nil {
		p.log.Warn("no reads are prepared", "error", err)
		return false
	}
	return true
}

func (p *preparer) run() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	if p.names, err = unix.FcntlInt(w.Fd(), unix.F_DUPFD_CLOEXEC, 16); err != nil {
		return err
	}
	// The binary that runs, whatever is at its path by now.
	cmd := exec.Command("/proc/self/exe", string(prepares), p.dir)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := errors.Join(unix.SetNonblock(p.names, true), cmd.Start()); err != nil {
		p.stop()
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// stop ends the process. mu is held.
func (p *preparer) stop() {
	if p.names >= 0 {
		unix.Close(p.names)
	}
	p.names = -1
}
