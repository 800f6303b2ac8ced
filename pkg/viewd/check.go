package viewd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Check returns nil when the server has every one of a new container's paths.
// An error wraps [ErrSilent].
//
// Every container of a server has the same files, and a server shows when it
// started as the mtime of its directories. So one look-up, of the container's
// directory, tells that the server is at work, that it knows the container,
// and which server it is; the files are asked for one by one only of a server
// that has not shown them yet. What is known of the directory is not in the
// kernel's caches: the container's id has not been looked up before.
func (c *Client) Check(ctx context.Context, id string, paths []string) error {
	dir := filepath.Join(c.Dir(), id)
	var known bool
	err := c.ask(ctx, func() error {
		fi, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return fmt.Errorf("%s is no directory: the file system there is not the view", dir)
		}
		if known = c.seen.has(fi.ModTime(), paths); known {
			return nil
		}
		if err := lookUp(dir, paths); err != nil {
			return err
		}
		c.seen.add(fi.ModTime(), paths)
		return nil
	})
	if err == nil && known {
		c.warm(dir, paths)
	}
	return err
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

// seenFiles are the files that one server has shown.
type seenFiles struct {
	mu     sync.Mutex
	server time.Time // when it started
	paths  []string
}

// has reports whether the server that started then has shown all of paths.
func (s *seenFiles) has(server time.Time, paths []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !server.Equal(s.server) {
		return false
	}
	return !slices.ContainsFunc(paths, func(p string) bool { return !slices.Contains(s.paths, p) })
}

// add notes that the server that started then has shown paths.
func (s *seenFiles) add(server time.Time, paths []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !server.Equal(s.server) {
		s.server, s.paths = server, nil
	}
	for _, p := range paths {
		if !slices.Contains(s.paths, p) {
			s.paths = append(s.paths, p)
		}
	}
}
