package main

import (
	"encoding/gob"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mostReaders is the largest number of a task's readers.
const mostReaders = 8

// A task tells a reader process what to read and how. It ends after Reads
// reads of each file at intervals, or after a time of reads without a pause.
type task struct {
	// Files are read as /proc/FILE.
	Files []string

	// Reads and Every are of one reader that does one read of each file per
	// interval. Unsteady has the intervals differ, by up to half of Every.
	Reads    int
	Every    time.Duration
	Unsteady bool

	// Readers is the number of threads that read without a pause, of one file
	// after the other, each for the time For that begins when Warm is over.
	Readers   int
	Warm, For time.Duration
}

// A reading is how long each read of one file took.
type reading struct {
	Took []time.Duration
	// Reads counts them, with those that were not timed: they cost the server
	// as much.
	Reads int
}

// A latency is the distribution of open+read+close of one file.
type latency struct {
	File     string
	P50, P99 time.Duration
	Reads    int
}

// readerMain is a process in a container's place: a pid and a mount namespace
// of its own, a fresh /proc, and files of a view bound over it. It waits until
// its parent has put it into a cgroup, and does what it is told to, until its
// input ends.
func readerMain(args []string) error {
	fs := flag.NewFlagSet("reader", flag.ContinueOnError)
	root := fs.String("root", "", "the directory of a view; empty for the kernel's own files")
	files := fs.String("files", "", "what of it is bound over /proc")
	if err := fs.Parse(args); err != nil {
		return err
	}
	// A thread that reads keeps the runtime's permission to run for as long
	// as its turn takes, and none waits for another's.
	runtime.GOMAXPROCS(mostReaders + 2)
	in, out := gob.NewDecoder(os.Stdin), gob.NewEncoder(os.Stdout)
	for mounted := false; ; mounted = true {
		var t task
		if err := in.Decode(&t); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if !mounted {
			if err := mountView(*root, strings.Split(*files, ",")); err != nil {
				return err
			}
		}
		if err := out.Encode(t.do()); err != nil {
			return err
		}
	}
}

// mountView gives the process a /proc of its pid namespace with files of root
// over it.
func mountView(root string, files []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if root == "" {
		return nil
	}
	for _, f := range files {
		src := filepath.Join(root, "proc", f)
		if err := unix.Mount(src, "/proc/"+f, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", src, err)
		}
	}
	return nil
}

// do returns the readings of each file.
func (t task) do() []reading {
	if t.Readers == 0 {
		return t.atIntervals()
	}
	out := make([]reading, len(t.Files))
	for i, f := range t.Files {
		out[i] = t.withoutPause(f)
	}
	return out
}

func (t task) atIntervals() []reading {
	out := make([]reading, len(t.Files))
	for tick := range t.Reads {
		pause := t.Every
		if t.Unsteady {
			pause = pause/2 + rand.N(pause)
		}
		time.Sleep(pause)
		// The first read after a pause pays for caches gone cold: each file in turn.
		for k := range t.Files {
			i := (tick + k) % len(t.Files)
			f := newFile(t.Files[i])
			start := time.Now()
			f.read()
			out[i].Took = append(out[i].Took, time.Since(start))
			out[i].Reads++
		}
	}
	return out
}

func (t task) withoutPause(name string) reading {
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		all reading
	)
	begin := time.Now().Add(t.Warm)
	for range t.Readers {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			r := newFile(name).readFor(begin, t.For)
			mu.Lock()
			defer mu.Unlock()
			all.Took = append(all.Took, r.Took...)
			all.Reads += r.Reads
		})
	}
	wg.Wait()
	return all
}

// A file is read by system calls that Go's scheduler is no part of.
type file struct {
	path *byte
	name string
	buf  []byte
}

func newFile(name string) *file {
	path, err := unix.BytePtrFromString("/proc/" + name)
	if err != nil {
		panic(err) // the names are constants
	}
	return &file{path: path, name: name, buf: make([]byte, 1<<16)}
}

// readFor reads until the time d after begin is over, and times the reads that
// start at begin or later, one at least.
func (f *file) readFor(begin time.Time, d time.Duration) reading {
	r := reading{Took: make([]time.Duration, 0, d/time.Microsecond+1)}
	last := time.Since(begin)
	for last < d || len(r.Took) == 0 {
		f.read()
		now := time.Since(begin)
		if last >= 0 {
			r.Took = append(r.Took, now-last)
		}
		r.Reads++
		last = now
	}
	return r
}

// read opens the file, reads it to its end and closes it. A bench that cannot
// read ends. Go's signals interrupt the opens and reads that wait for a server.
func (f *file) read() {
	fd := f.call("open", unix.SYS_OPENAT, 0 /* the path is absolute */, uintptr(unsafe.Pointer(f.path)), unix.O_RDONLY|unix.O_CLOEXEC)
	for total := uintptr(0); ; {
		n := f.call("read", unix.SYS_READ, fd, uintptr(unsafe.Pointer(&f.buf[0])), uintptr(len(f.buf)))
		if n == 0 && total == 0 {
			f.fail("read", nil)
		}
		if n == 0 {
			break
		}
		total += n
	}
	// An interrupted close has closed all the same.
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0); errno != 0 && errno != unix.EINTR {
		f.fail("close", errno)
	}
}

// call makes a system call, again if it was interrupted.
//
//go:uintptrescapes
func (f *file) call(op string, nr, a, b, c uintptr) uintptr {
	for {
		r, _, errno := unix.RawSyscall6(nr, a, b, c, 0, 0, 0)
		if errno == 0 {
			return r
		}
		if errno != unix.EINTR {
			f.fail(op, errno)
		}
	}
}

func (f *file) fail(op string, err error) {
	if err == nil {
		err = errors.New("it is empty")
	}
	fmt.Fprintf(os.Stderr, "%s /proc/%s: %v\n", op, f.name, err)
	os.Exit(1)
}

func summarize(file string, ds []time.Duration) latency {
	slices.Sort(ds)
	return latency{File: file, P50: ds[len(ds)/2], P99: ds[len(ds)*99/100], Reads: len(ds)}
}
