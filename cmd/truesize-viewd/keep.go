package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/fuse/kept"
	"github.com/truesize/truesize/fuse/view"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/threads"
)

const socketName = "keeper.sock"

// keepView keeps the view served until ctx ends, or another keeper takes over.
func keepView(ctx context.Context, c config, stderr io.Writer, log *slog.Logger) error {
	tune(1)
	takePrecedence()
	o, err := keeperOptions(c, stderr, log)
	if err != nil {
		return err
	}
	k, err := takeHold(c, o)
	if err != nil {
		return err
	}
	if c.role == takeOver {
		go upgradeToSelf(o, log)
	}
	return keepOn(ctx, c, k, log)
}

// takeHold returns a keeper of the view, wherever it comes from.
func takeHold(c config, o keeper.Options) (*keeper.Keeper, error) {
	switch c.role {
	case adopts:
		return keeper.Adopt(o)
	case takeOver:
		return keeper.TakeOver(o.Socket, o)
	}
	lock, err := takeLock(c.path("viewd.lock"))
	if err != nil {
		return nil, err
	}
	h := keeper.Holdings{Lock: lock}
	if h.Memory, err = kept.Create(); err != nil {
		return nil, err
	}
	if h.Fuse, err = mountView(c.runDir); err != nil {
		return nil, err
	}
	return keeper.New(h, nil, o), nil
}

// keepOn runs a keeper until ctx ends or another takes over. At the end the
// view is taken away, from the containers first: none is left with files that
// cannot be read. A view whose connection was aborted is mounted anew.
func keepOn(ctx context.Context, c config, k *keeper.Keeper, log *slog.Logger) error {
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		log.Info("stopping: taking the view off the containers")
		detachAll(c, log)
		stop()
	})()
	for {
		if c.role != adopts {
			go repairContainers(inner, c, log)
		}
		handedOver, err := k.Run(inner)
		switch {
		case handedOver:
			return nil
		case errors.Is(err, keeper.ErrConnection):
			log.Error("the view is mounted anew", "error", err)
			fd, err := mountView(c.runDir)
			if err != nil {
				return err
			}
			k.Renew(fd)
		case err != nil:
			return err
		default:
			return errors.Join(unmountView(c.runDir), removeSockets(c))
		}
	}
}

func removeSockets(c config) error {
	var errs []error
	for _, name := range []string{socketName, "viewd.sock"} {
		if err := os.Remove(c.path(name)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func keeperOptions(c config, stderr io.Writer, log *slog.Logger) (keeper.Options, error) {
	exe, err := os.Executable()
	if err != nil {
		return keeper.Options{}, err
	}
	args := withoutSwitch(c.args, "takeover")
	tree, err := fuse.NewTree(view.Files(c.freshness))
	if err != nil {
		return keeper.Options{}, err
	}
	reg, err := registry.Open(c.path("containers"))
	if err != nil {
		return keeper.Options{}, err
	}
	return keeper.Options{
		Server: append([]string{strings.TrimSuffix(exe, " (deleted)")}, args...), Socket: c.path(socketName), Stderr: stderr, Log: log,
		Fallback: func(m *kept.Memory) (*fuse.Fallback, error) {
			return fuse.NewFallback(fuse.FallbackOptions{
				Tree: tree, Kept: m, HostFile: c.hostFile,
				Known: func(id string) bool {
					_, err := reg.Get(id)
					return !errors.Is(err, registry.ErrNotFound) && !errors.Is(err, registry.ErrBadID)
				},
			})
		},
	}, nil
}

// hostFile reads the host's file for a path of the view.
func (c *config) hostFile(path string) ([]byte, error) {
	root, rest := c.procRoot, strings.TrimPrefix(path, "proc/")
	if rest == path {
		root, rest = c.sysRoot, strings.TrimPrefix(path, "sys/")
	}
	f, err := os.Open(filepath.Join(root, rest))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// takePrecedence asks the kernel to kill anything else first when memory is
// short, and to let this process run before others when processors are: it is
// small and seldom runs, and every container of the node reads through it. A
// server must come up at once on a node whose containers spin. It needs
// CAP_SYS_RESOURCE and CAP_SYS_NICE; without them all is as before.
func takePrecedence() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-998"), 0)
	_ = threads.Nice(-10)
	_ = threads.Soon()
}

// upgradeToSelf has this process's keeper serve by its own version.
func upgradeToSelf(o keeper.Options, log *slog.Logger) {
	for range 100 {
		reply, err := keeper.Ask(o.Socket, keeper.Request{Op: keeper.OpUpgrade, Binary: o.Server[0]})
		if err == nil && reply.KeeperPID == os.Getpid() {
			return
		}
		if err != nil && reply.KeeperPID == os.Getpid() {
			log.Error("the old server stays", "error", err)
			return
		}
		time.Sleep(50 * time.Millisecond) // the predecessor's socket still
	}
}

// askKeeper asks the running keeper and prints its answer.
func askKeeper(c config, stdout io.Writer) error {
	r := keeper.Request{Op: keeper.OpStatus}
	if c.upgrade != "" {
		path, err := filepath.Abs(c.upgrade)
		if err != nil {
			return err
		}
		r = keeper.Request{Op: keeper.OpUpgrade, Binary: path}
	}
	reply, err := keeper.Ask(c.path(socketName), r)
	if err != nil {
		return fmt.Errorf("ask the running truesize-viewd: %w", err)
	}
	enc := json.NewEncoder(stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(reply)
}
