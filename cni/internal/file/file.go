// Package file reads and writes small whole files by plain system calls.
//
// Package os makes every file non-blocking and offers it to the runtime's
// poller, which refuses it: five more system calls for a file of 40 bytes, of
// which an ADD has some twenty.
package file

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Read returns what is at path; the error is an [fs.PathError]. It opens
// nothing but a file to read at once: a named pipe without a writer is empty.
func Read(path string) ([]byte, error) {
	return ReadAtMost(path, 1<<30, 0)
}

// ReadAtMost is Read of at most limit bytes, with further flags for open(2).
func ReadAtMost(path string, limit, flags int) ([]byte, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|flags, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	data := make([]byte, 0, min(limit, 2048))
	for len(data) < limit {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, data[len(data):min(cap(data), limit)]) })
		if err != nil {
			return data, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			break
		}
		data = data[:len(data)+n]
	}
	return data, nil
}

// Write puts data at path, made with perm if it is not there and truncated if
// it is; durable says to wait until the data is on the disk.
func Write(path string, data []byte, perm uint32, durable bool) (err error) {
	return write(path, data, unix.O_CREAT|unix.O_TRUNC, perm, durable)
}

// Set writes value to a file that has to be there, as those of /proc are.
func Set(path, value string) error {
	return write(path, []byte(value), 0, 0, false)
}

func write(path string, data []byte, flags int, perm uint32, durable bool) (err error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|flags, perm) })
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() {
		if cerr := unix.Close(fd); err == nil && cerr != nil {
			err = &fs.PathError{Op: "close", Path: path, Err: cerr}
		}
	}()
	for len(data) > 0 {
		n, err := retry(func() (int, error) { return unix.Write(fd, data) })
		if err != nil {
			return &fs.PathError{Op: "write", Path: path, Err: err}
		}
		data = data[n:]
	}
	if durable {
		if err := unix.Fsync(fd); err != nil {
			return &fs.PathError{Op: "fsync", Path: path, Err: err}
		}
	}
	return nil
}

// retry calls f again when a signal has interrupted it.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
