package viewd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"golang.org/x/sys/unix"
)

// Check returns nil when the server has every one of a new container's paths.
// It waits for 300 ms, or until ctx ends. An error wraps [ErrSilent].
//
// Every container of a server has the same files, and a server shows when it
// started as the mtime of its directories, and with every beat of its heart
// ([keeper.AtWork]). So of a server that has shown the files and is at work
// nothing is asked: the runtime waits for this, and would wait for two more
// wake-ups. Any other is asked for each of them.
func (c *Client) Check(ctx context.Context, id string, paths []string) error {
	dir := filepath.Join(c.Dir(), id)
	if c.knows(paths) {
		c.warm(dir, paths)
		return nil
	}
	return c.ask(ctx, c.checkWithin, func() error {
		fi, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return fmt.Errorf("%s is no directory: the file system there is not the view", dir)
		}
		if err := lookUp(dir, paths); err != nil {
			return err
		}
		c.seen.add(seenServer{fi.Sys().(*syscall.Stat_t).Dev, fi.ModTime().UnixNano()}, paths)
		return nil
	})
}

// knows reports whether a server is at work at the view's place that has shown
// all of paths. It asks nobody.
func (c *Client) knows(paths []string) bool {
	started, ok := keeper.AtWork(filepath.Join(c.runDir, lockName))
	if !ok {
		return false
	}
	// What the kernel holds of the root tells which file system is there.
	var root unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, c.Dir(), unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, 0, &root); err != nil {
		return false
	}
	return c.seen.has(seenServer{unix.Mkdev(root.Dev_major, root.Dev_minor), started.UnixNano()}, paths)
}

// warmAfter is when a new container's files are looked up: the runtime, which
// has its answer, is starting its own programs then, and mounts the files later.
const warmAfter = 10 * time.Millisecond

// warm has the kernel look up a container's files while the runtime is busy
// with other things, so that it finds them in the kernel's caches when it
// mounts them. It is a help and no more: where it does not come to it, or the
// view does not answer, the runtime looks them up itself.
func (c *Client) warm(dir string, paths []string) {
	time.AfterFunc(warmAfter, func() {
		select {
		case c.warmUp <- struct{}{}:
		default:
			return
		}
		_ = lookUp(dir, paths)
		<-c.warmUp
	})
}

func lookUp(dir string, paths []string) error {
	for _, p := range paths {
		if _, err := os.Lstat(filepath.Join(dir, p)); err != nil {
			return err
		}
	}
	return nil
}

// A seenServer is a server, where it was seen.
type seenServer struct {
	dev     uint64 // of the view's file system
	started int64  // ns since the epoch
}

// seenFiles are the files that one server has shown.
type seenFiles struct {
	mu     sync.Mutex
	server seenServer
	paths  []string
}

// has reports whether the server has shown all of paths.
func (s *seenFiles) has(server seenServer, paths []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if server != s.server {
		return false
	}
	return !slices.ContainsFunc(paths, func(p string) bool { return !slices.Contains(s.paths, p) })
}

// add notes that the server has shown paths.
func (s *seenFiles) add(server seenServer, paths []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if server != s.server {
		s.server, s.paths = server, nil
	}
	for _, p := range paths {
		if !slices.Contains(s.paths, p) {
			s.paths = append(s.paths, p)
		}
	}
}
