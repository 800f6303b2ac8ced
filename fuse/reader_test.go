package fuse

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The process that serves a mount must not read it, so the test binary runs
// itself as the reader: with this variable set, it is the name of what to do.
const readerEnv = "TRUESIZE_TEST_READER"

func TestMain(m *testing.M) {
	if job := os.Getenv(readerEnv); job != "" {
		if err := readerMain(job, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A report is what a reader saw.
type report struct {
	Reads, Empty, NUL, Cut, Mixed int
	Errors                        map[string]int // by errno
	Data                          []byte
	// Bad is the first content that was not right.
	Bad []byte
}

// reader starts a reader.
func reader(t *testing.T, job string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), readerEnv+"="+job, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// runReader runs a reader to its end.
func runReader(t *testing.T, job string, args ...string) report {
	t.Helper()
	out, err := reader(t, job, args...).Output()
	if err != nil {
		t.Fatalf("reader %s %v: %v", job, args, err)
	}
	return parseReport(t, out)
}

func parseReport(t *testing.T, out []byte) (r report) {
	t.Helper()
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("reader said %.200q: %v", out, err)
	}
	return r
}

// readerMain is the reader. Its arguments are files.
func readerMain(job string, files []string) error {
	r := report{Errors: make(map[string]int)}
	switch job {
	case "hammer": // 8 threads, until standard input is closed
		hammer(&r, files, false)
	case "bursts": // the same, with pauses
		hammer(&r, files, true)
	case "whole", "pieces", "pread", "mmap", "sendfile", "direct":
		for _, f := range files {
			data, err := readBy(job, f)
			r.add(data, err)
			r.Data = append(r.Data, data...)
		}
	case "write":
		r.Errors = writeEverything(files[0])
	default:
		return fmt.Errorf("no job %q", job)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// hammer reads the files in turn, in 8 threads. With pauses, each thread now
// and then sleeps for a while of its own, so that the cache runs empty.
func hammer(r *report, files []string, pauses bool) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		stop = make(chan struct{})
	)
	go func() {
		in := bufio.NewReader(os.Stdin)
		_, _ = in.ReadByte()
		close(stop)
	}()
	for i := range 8 {
		wg.Go(func() {
			mine := report{Errors: make(map[string]int)}
			for k := i; ; k++ {
				select {
				case <-stop:
					mu.Lock()
					defer mu.Unlock()
					r.merge(mine)
					return
				default:
				}
				if pauses && k%16 == 0 {
					time.Sleep(time.Duration(k*7919%50) * time.Millisecond)
				}
				data, err := readBy("whole", files[k%len(files)])
				mine.add(data, err)
			}
		})
	}
	wg.Wait()
}

func (r *report) merge(o report) {
	r.Reads, r.Empty, r.NUL = r.Reads+o.Reads, r.Empty+o.Empty, r.NUL+o.NUL
	r.Cut, r.Mixed = r.Cut+o.Cut, r.Mixed+o.Mixed
	for k, n := range o.Errors {
		r.Errors[k] += n
	}
	if r.Bad == nil {
		r.Bad = o.Bad
	}
}

// add looks at what a read returned: lines that each start with the number of
// the snapshot, which every page must be of one, and maybe spaces after them.
func (r *report) add(data []byte, err error) {
	r.Reads++
	if err != nil {
		var errno syscall.Errno
		errors.As(err, &errno)
		r.Errors[unix.ErrnoName(errno)]++
		return
	}
	if len(data) == 0 {
		r.Empty++
		return
	}
	bad := r.NUL + r.Cut + r.Mixed
	if bytes.IndexByte(data, 0) >= 0 {
		r.NUL++
	}
	if text := bytes.TrimRight(data, " "); len(text) == 0 || text[len(text)-1] != '\n' {
		r.Cut++
	}
	for page := range len(data)/pageSize + 1 {
		if mixed(data[page*pageSize : min(len(data), (page+1)*pageSize)]) {
			r.Mixed++
		}
	}
	if r.NUL+r.Cut+r.Mixed > bad && r.Bad == nil {
		r.Bad = bytes.Clone(data)
	}
}

func mixed(page []byte) bool {
	var first []byte
	for line := range bytes.Lines(page) {
		number, _, ok := bytes.Cut(line, []byte(" "))
		if !ok || len(number) == 0 {
			continue
		}
		if first == nil {
			first = number
		}
		if !bytes.Equal(first, number) {
			return true
		}
	}
	return false
}

// readBy reads a file as programs do.
func readBy(how, path string) ([]byte, error) {
	flags := unix.O_RDONLY | unix.O_CLOEXEC
	if how == "direct" {
		flags |= unix.O_DIRECT
	}
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	switch how {
	case "mmap":
		return readMmap(fd)
	case "sendfile":
		return readSendfile(fd)
	case "pread":
		return readBackwards(fd)
	}
	piece := 1 << 16
	if how == "pieces" {
		piece = 7
	}
	buf, data := aligned(piece), []byte(nil)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n == 0 {
			return data, err
		}
		data = append(data, buf[:n]...)
	}
}

func readMmap(fd int) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size == 0 {
		return nil, err
	}
	mem, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(mem)
	return bytes.Clone(mem), nil
}

func readSendfile(fd int) ([]byte, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	defer unix.Close(p[0])
	go func() {
		defer unix.Close(p[1])
		for {
			if n, err := unix.Sendfile(p[1], fd, nil, 1000); err != nil || n == 0 {
				return
			}
		}
	}()
	var data []byte
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(p[0], buf)
		if err != nil || n == 0 {
			return data, err
		}
		data = append(data, buf[:n]...)
	}
}

// readBackwards reads the last byte first.
func readBackwards(fd int) ([]byte, error) {
	end, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return nil, err
	}
	data := make([]byte, end)
	const step = 100
	for off := (end - 1) / step * step; off >= 0; off -= step {
		if _, err := unix.Pread(fd, data[off:min(end, off+step)], off); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// writeEverything tries what changes files, and returns the errno of each.
func writeEverything(file string) map[string]int {
	got := make(map[string]int)
	try := func(what string, err error) {
		var errno syscall.Errno
		errors.As(err, &errno)
		got[what+" "+unix.ErrnoName(errno)]++
	}
	fd, err := unix.Open(file, unix.O_RDWR, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte("x"))
		try("write", err)
		try("ftruncate", unix.Ftruncate(fd, 0))
		try("fallocate", unix.Fallocate(fd, 0, 0, 1))
		_, err = unix.IoctlGetInt(fd, 0x1234)
		try("ioctl", err)
		try("fsync", unix.Fsync(fd))
		unix.Close(fd)
	}
	dir := file[:len(file)-len("/meminfo")]
	_, err = unix.Open(file, unix.O_WRONLY|unix.O_TRUNC, 0)
	try("truncate", err)
	_, err = unix.Open(dir+"/new", unix.O_CREAT|unix.O_WRONLY, 0o644)
	try("create", err)
	try("mkdir", unix.Mkdir(dir+"/new", 0o755))
	try("mknod", unix.Mknod(dir+"/new", unix.S_IFREG|0o644, 0))
	try("symlink", unix.Symlink("x", dir+"/new"))
	try("link", unix.Link(file, dir+"/new"))
	try("rename", unix.Rename(file, dir+"/new"))
	try("unlink", unix.Unlink(file))
	try("rmdir", unix.Rmdir(dir))
	try("chmod", unix.Chmod(file, 0o777))
	try("chown", unix.Chown(file, 1, 1))
	try("setxattr", unix.Setxattr(file, "user.x", []byte("y"), 0))
	_, err = unix.Getxattr(file, "user.x", make([]byte, 10))
	try("getxattr", err)
	_, err = unix.Listxattr(file, make([]byte, 10))
	try("listxattr", err)
	_, err = unix.Readlink(file, make([]byte, 10))
	try("readlink", err)
	return got
}
