package cgroup

import (
	"errors"
	"fmt"
	"path"
	"sync"

	"golang.org/x/sys/unix"
)

// A file is an open file of a cgroup, read from its start each time. It is a
// bare descriptor: os.File would register it with Go's poller (cgroup files
// can be polled) and allocate an error for what is not one.
type file struct {
	fd   int
	path string // for errors
}

// absent is a file that the kernel does not have: reading it says
// ErrNoController.
func absent(dir, name string) file { return file{fd: -1, path: path.Join(dir, name)} }

// openFile opens name, a constant of this package, in the directory dirfd,
// whose path is dir. A name that does not exist is an absent file.
func openFile(dirfd int, dir, name string) (file, error) {
	fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return absent(dir, name), nil
	}
	f := file{fd: fd, path: path.Join(dir, name)}
	if err != nil {
		return f, f.fail("open", err)
	}
	return f, nil
}

func openat(dirfd int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (f *file) exists() bool { return f.fd >= 0 }

func (f *file) close() {
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
}

// fail wraps an error of the kernel. ENODEV is what kernfs says of a file
// whose cgroup was removed while it was open.
func (f *file) fail(op string, err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		err = ErrGone
	}
	return fmt.Errorf("%s %s: %w", op, f.path, err)
}

// Buffers start at startBuffer bytes and grow to what a file needs, at most
// maxFile: no cgroup file that this package reads comes near.
const (
	startBuffer = 4096
	maxFile     = 4 << 20
)

// read returns the whole file. The bytes lie in *buf, which it grows.
func (f *file) read(buf *[]byte) ([]byte, error) {
	if f.fd < 0 && f.path == "" {
		return nil, ErrNoController
	}
	if f.fd < 0 {
		return nil, fmt.Errorf("read %s: %w", f.path, ErrNoController)
	}
	for {
		data := (*buf)[:cap(*buf)]
		n, err := f.readOnce(data)
		if err != nil {
			return nil, err
		}
		// A file that fills the buffer is read anew, not on: two reads of a
		// file that changes do not fit together.
		if n < len(data) {
			return data[:n], nil
		}
		if len(data) >= maxFile {
			return nil, fmt.Errorf("read %s: over %d bytes", f.path, maxFile)
		}
		*buf = make([]byte, 2*len(data))
	}
}

// readOnce fills data from the file's start, as far as the file goes. One
// system call does for most files; the kernel hands lists (cgroup.procs) out
// in pieces of a page.
func (f *file) readOnce(data []byte) (int, error) {
	n := 0
	for n < len(data) {
		m, err := unix.Pread(f.fd, data[n:], int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, f.fail("read", err)
		}
		n += m
		if m == 0 || m < pieceSize && n < len(data) {
			break
		}
	}
	return n, nil
}

// pieceSize is the least length of a piece after which another may follow:
// the kernel fills a page as far as whole records go, and a record of a list
// (a pid and a newline) is short.
const pieceSize = 4096 - 64

// bufferPool lends read buffers.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, startBuffer)
	return &b
}

func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }
