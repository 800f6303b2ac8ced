// truesize-macvlan is a CNI plugin: it makes a pod a host on the node's
// physical network. Container runtimes run it; see docs/network.md.
package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"runtime/debug"
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
	growStack()
	if e := run(); e != nil {
		_ = e.Print()
		os.Exit(1)
	}
}

// growStack makes the goroutine's stack as large as a call needs, in one step
// and while there is next to nothing on it. Growing by doubling under way
// copies it four times and reads the tables to walk it each time.
//
//go:noinline
func growStack() byte {
	var deep [48 << 10]byte
	return deep[len(os.Args)]
}

// run does what the environment and stdin ask for.
func run() *types.Error {
	ctx := &untilSignal{Context: context.Background()}
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
