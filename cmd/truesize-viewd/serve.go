package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/fuse/view"
	"github.com/truesize/truesize/pkg/garbage"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/version"
)

// serve answers for the view, on the connection that the keeper gave it, until
// ctx ends or the view is unmounted.
func serve(ctx context.Context, c config, stderr io.Writer, log *slog.Logger) error {
	tune(c.threads)
	link, err := keeper.Inherit(append([]string{os.Args[0]}, c.args...), stderr, log)
	if err != nil {
		return err
	}
	reg, err := registry.Open(c.path("containers"))
	if err != nil {
		return err
	}
	o := view.Options{
		Registry: reg, CgroupRoot: c.cgroupRoot, ProcRoot: c.procRoot, SysRoot: c.sysRoot,
		Freshness: c.freshness, Threads: c.threads, Version: version.Get().String(), Log: log, Kept: link.Memory,
	}
	if c.prepare {
		o.Preparer = newPreparer(c.path("view"), log)
	}
	v, err := view.New(o)
	if err != nil {
		return err
	}
	// A predecessor may serve until here.
	if err := link.Ready(); err != nil {
		return err
	}
	v.Resume()
	return start(ctx, c, v, link, log)
}

// start runs the parts until one of them ends.
func start(ctx context.Context, c config, v *view.View, link *keeper.Link, log *slog.Logger) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	parts := make(chan error, 3)
	go func() {
		err := v.Server.Serve(ctx, link.Fuse)
		if err == nil {
			err = errors.New("the view was unmounted by someone else")
		}
		parts <- err
	}()
	go link.Run(ctx, v.Server.Since())
	go func() { _ = garbage.Collect(ctx, garbageRoom, garbagePercent) }()
	socket, err := listen(c.path("viewd.sock"))
	if err != nil {
		return err
	}
	defer socket.Close()
	go func() { parts <- v.Run(ctx) }()
	go func() { parts <- serveMetrics(socket, v, link.Memory) }()
	log.Info("serving", "view", c.path("view"), "version", version.Get().Version, "freshness", c.freshness.String())
	select {
	case <-ctx.Done():
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
	debug.SetGCPercent(garbagePercent)
}

// What garbage there may be before it is collected while readers wait: that much
// of what is alive, in percent, or that many bytes if that is more. There is no
// limit for both together (GOMEMLIMIT): what is alive grows with the containers,
// and over a limit each answer is followed by a collection.
const (
	garbagePercent = 50
	garbageRoom    = 3 << 20
)
