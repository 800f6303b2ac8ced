// truesize-macvlan is a CNI plugin: it makes a pod a host on the node's
// physical network. Container runtimes run it; see docs/network.md.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	cniversion "github.com/containernetworking/cni/pkg/version"

	"github.com/truesize/truesize/cni"
	"github.com/truesize/truesize/pkg/version"
)

func main() {
	// The program lives for milliseconds and uses a few megabytes.
	debug.SetGCPercent(-1)
	// Its work is one chain of system calls; a second processor of the Go
	// runtime would only be woken and put to sleep.
	runtime.GOMAXPROCS(1)
	if e := run(); e != nil {
		_ = e.Print()
		os.Exit(1)
	}
}

// run does what the environment and stdin ask for.
func run() *types.Error {
	// A runtime that gives up sends SIGTERM: the call then ends with an error
	// and takes back what it made.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	about := "truesize-macvlan " + version.Get().String()
	return skel.PluginMainFuncsWithError(skel.CNIFuncs{
		Add: counted(ctx, "ADD", func(ctx context.Context, a *skel.CmdArgs) error {
			return cni.Add(ctx, a, types.PrintResult)
		}),
		Del:    counted(ctx, "DEL", cni.Del),
		Check:  counted(ctx, "CHECK", cni.Check),
		GC:     counted(ctx, "GC", cni.GC),
		Status: counted(ctx, "STATUS", cni.Status),
	}, cniversion.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"), about)
}

// counted adds the call to the counters that the agent shows.
func counted(ctx context.Context, op string, f func(context.Context, *skel.CmdArgs) error) func(*skel.CmdArgs) error {
	return func(a *skel.CmdArgs) error {
		start := time.Now()
		err := f(ctx, a)
		code := uint(0)
		if err != nil {
			code = types.ErrInternal
			var e *types.Error
			if errors.As(err, &e) {
				code = e.Code
			}
		}
		cni.Count(a.StdinData, op, time.Since(start), code)
		return err
	}
}
