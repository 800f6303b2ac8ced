package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
)

const (
	startsWithin = 40 * time.Second
	stopsWithin  = 40 * time.Second
	// successorWithin is how long a view may have to be without a keeper.
	successorWithin = 10 * time.Second
)

// startInBackground starts another process of this program, which keeps the
// view from now on, and returns once it serves. Where a truesize-viewd runs
// already, the new one takes over from it.
func startInBackground(ctx context.Context, c config, stderr io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startsWithin, fmt.Errorf("truesize-viewd does not serve after %v", startsWithin))
	defer cancel()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args := withoutSwitch(c.args, "background")
	before, err := keeper.Ask(c.path(socketName), keeper.Request{Op: keeper.OpStatus})
	if err == nil {
		args = append(withoutSwitch(args, "takeover"), "--takeover")
	}
	cmd := exec.Command(exe, args...)
	cmd.Dir, cmd.Stderr = "/", stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		now, err := keeper.Ask(c.path(socketName), keeper.Request{Op: keeper.OpStatus})
		// The keeper need not be the child: its server may have had to start
		// another one already.
		if err == nil && now.Serving && now.KeeperPID != before.KeeperPID && now.ServerPID != before.ServerPID {
			return nil
		}
		select {
		case err := <-ended:
			end := fmt.Errorf("truesize-viewd ended before it served: %w", errors.Join(err, errors.New("its log says why")))
			if cmd.ProcessState.ExitCode() > 0 {
				return end
			}
			// It was killed, or another keeper took over: what it started goes on.
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, successorWithin, end)
			defer cancel()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stopRunning stops the truesize-viewd that runs.
func stopRunning(ctx context.Context, c config) error {
	ctx, cancel := context.WithTimeout(ctx, stopsWithin)
	defer cancel()
	return keeper.Stop(ctx, c.path(socketName), c.path("viewd.lock"))
}
