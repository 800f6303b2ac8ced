package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A readerSpec tells one reader process what to read and how.
type readerSpec struct {
	// Root is where the files to read are bound from: the directory of a view
	// ("" is the kernel's own /proc).
	Root string
	// Files are read as /proc/FILE, each in turn.
	Files []string
	// Readers is the number of threads, each doing Reads reads of every file.
	Readers, Reads int
	// Every paces a reader: one read of each file per interval; 0 is no pause.
	Every time.Duration
	// Unsteady has the intervals differ, by up to half of Every.
	Unsteady bool
	// Hold keeps the process after its reads until its input closes.
	Hold bool
}

// A latency is the distribution of open+read+close of one file.
type latency struct {
	File     string
	P50, P99 time.Duration
	Reads    int
}

// readerMain is a process in a container's place: a pid and a mount namespace
// of its own, a fresh /proc, and the view's files bound over it. It waits for
// a line of input (its parent has put it into a cgroup by then), reads, and
// prints its latencies.
func readerMain(args []string) error {
	fs := flag.NewFlagSet("reader", flag.ContinueOnError)
	spec := fs.String("spec", "", "readerSpec in JSON")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var s readerSpec
	if err := json.Unmarshal([]byte(*spec), &s); err != nil {
		return err
	}
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	if err := mountView(s.Root, s.Files); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(read(s)); err != nil {
		return err
	}
	if s.Hold {
		io.Copy(io.Discard, os.Stdin)
	}
	return nil
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

// read does the reads of s and returns each file's latencies.
func read(s readerSpec) []latency {
	var out []latency
	if s.Every > 0 {
		samples := make([][]time.Duration, len(s.Files))
		for tick := range s.Reads {
			pause := s.Every
			if s.Unsteady {
				pause = pause/2 + rand.N(pause)
			}
			time.Sleep(pause)
			// The first read after a pause pays for caches gone cold: each file in turn.
			for k := range s.Files {
				i := (tick + k) % len(s.Files)
				samples[i] = append(samples[i], timeReads("/proc/"+s.Files[i], 1)...)
			}
		}
		for i, f := range s.Files {
			out = append(out, summarize(f, samples[i]))
		}
		return out
	}
	for _, f := range s.Files {
		var (
			wg  sync.WaitGroup
			mu  sync.Mutex
			all []time.Duration
		)
		for range s.Readers {
			wg.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				ds := timeReads("/proc/"+f, s.Reads)
				mu.Lock()
				all = append(all, ds...)
				mu.Unlock()
			})
		}
		wg.Wait()
		out = append(out, summarize(f, all))
	}
	return out
}

// timeReads times n times open, read to the end, close. It uses raw system
// calls, so that Go's scheduler is no part of what is measured.
func timeReads(path string, n int) []time.Duration {
	ds := make([]time.Duration, n)
	buf := make([]byte, 1<<16)
	for i := range ds {
		start := time.Now()
		size, err := readOnce(path, buf)
		ds[i] = time.Since(start)
		if err != nil || size == 0 {
			fmt.Fprintf(os.Stderr, "read %s: %d bytes, %v\n", path, size, err)
			os.Exit(1)
		}
	}
	return ds
}

func readOnce(path string, buf []byte) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	total := 0
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return total, errors.Join(err, unix.Close(fd))
		}
		total += n
	}
}

func summarize(file string, ds []time.Duration) latency {
	slices.Sort(ds)
	return latency{File: file, P50: ds[len(ds)/2], P99: ds[len(ds)*99/100], Reads: len(ds)}
}
