package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/view"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/version"
	"golang.org/x/sys/unix"
)

// serve mounts the view and answers for it until ctx ends or the view is
// unmounted.
func serve(ctx context.Context, c config, log *slog.Logger) (err error) {
	tune(c.threads)
	if err := os.MkdirAll(c.runDir, 0o755); err != nil {
		return err
	}
	if c.runDir, err = filepath.EvalSymlinks(c.runDir); err != nil {
		return err
	}
	if c.runDir, err = filepath.Abs(c.runDir); err != nil {
		return err
	}
	lock, err := takeLock(filepath.Join(c.runDir, "viewd.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	reg, err := registry.Open(filepath.Join(c.runDir, "containers"))
	if err != nil {
		return err
	}
	v, err := view.New(view.Options{
		Registry: reg, CgroupRoot: c.cgroupRoot, ProcRoot: c.procRoot, SysRoot: c.sysRoot,
		Freshness: c.freshness, Threads: c.threads, Version: version.Get().String(), Log: log,
	})
	if err != nil {
		return err
	}
	fd, unmount, err := mount(c.runDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return start(ctx, c, v, fd, log)
}

// start runs the parts until one of them ends.
func start(ctx context.Context, c config, v *view.View, fd int, log *slog.Logger) error {
	socket, err := listen(filepath.Join(c.runDir, "viewd.sock"))
	if err != nil {
		return err
	}
	defer socket.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	parts := make(chan error, 3)
	go func() { parts <- v.Run(ctx) }()
	go func() { parts <- serveMetrics(socket, v) }()
	go func() {
		err := v.Server.Serve(ctx, fd, nil)
		if err == nil {
			err = errors.New("the view was unmounted by someone else")
		}
		parts <- err
	}()
	log.Info("serving", "view", filepath.Join(c.runDir, "view"), "version", version.Get().Version, "freshness", c.freshness.String())
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-parts:
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
}

// tune keeps the process small. The threads that serve are asleep in read(2)
// most of the time; one more lets one that comes back from a long sleep find a
// processor at once, and the rest of the program run.
func tune(threads int) {
	runtime.GOMAXPROCS(threads + 1)
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(12 << 20)
}

// takeLock holds the lock until the file is closed, or the process ends.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("another truesize-viewd serves this directory: it holds %s", path)
		}
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}

// mount mounts the view on runDir/view, over nothing: what a predecessor left
// is taken off. unmount undoes what mount did.
func mount(runDir string) (fd int, unmount func() error, err error) {
	target := filepath.Join(runDir, "view")
	if err := os.Mkdir(target, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return -1, nil, err
	}
	if err := fuse.Detach(target); err != nil {
		return -1, nil, err
	}
	bound, err := fuse.Share(runDir)
	if err != nil {
		return -1, nil, err
	}
	undo := func() error {
		err := fuse.Detach(target)
		if bound {
			err = errors.Join(err, detachBind(runDir))
		}
		return err
	}
	if fd, err = fuse.Mount(target); err != nil {
		return -1, nil, errors.Join(err, undo())
	}
	return fd, undo, nil
}

func detachBind(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "unmount", Path: dir, Err: err}
	}
	return nil
}
