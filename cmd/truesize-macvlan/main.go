// truesize-macvlan is a CNI plugin: it makes a pod a host on the node's
// physical network. Container runtimes run it; see docs/network.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

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
	if err := run(os.Getenv, os.Stdin, os.Stdout, os.Stderr, cni.Count); err != nil {
		_ = asCNI(err).Print()
		os.Exit(1)
	}
}

// growStack makes the goroutine's stack as large as a call needs, in one step
// and while there is next to nothing on it. Growing by doubling under way
// copies it four times and reads the tables to walk it each time.
//
//go:noinline
func growStack() byte {
	if len(os.Args) > 1<<30 { // never: a frame is made, and no page of it touched
		var deep [48 << 10]byte
		return deep[len(os.Args)%len(deep)]
	}
	return 0
}

// run does what the environment and stdin ask for. It prints the result to
// stdout; the error is for the caller to print. It has count note the call, in
// the node's run directory where the configuration names none.
func run(getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer, count func(*cni.Args, time.Duration, uint)) error {
	versions := cniversion.PluginSupports(cni.Versions()...)
	if getenv("CNI_COMMAND") == "" {
		fmt.Fprintf(stderr, "truesize-macvlan %s, a CNI plugin: container runtimes run it\nCNI protocol versions supported: %s\n",
			version.Get(), strings.Join(cni.Versions(), ", "))
		return nil
	}
	args, err := cni.ReadArgs(getenv)
	if err != nil {
		return err
	}
	if args.Command == "VERSION" {
		return versions.Encode(stdout)
	}
	verb, ok := map[string]func(context.Context, *cni.Args) error{
		"ADD": func(ctx context.Context, a *cni.Args) error {
			return cni.Add(ctx, a, func(r types.Result, version string) error { return printResult(stdout, r, version) })
		},
		"DEL": cni.Del, "CHECK": cni.Check, "GC": cni.GC, "STATUS": cni.Status,
	}[args.Command]
	if !ok {
		return types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("unknown CNI_COMMAND: %.16q", args.Command), "")
	}
	if args.StdinData, err = io.ReadAll(stdin); err != nil {
		return types.NewError(types.ErrIOFailure, "read the network configuration from stdin", err.Error())
	}
	start := time.Now()
	err = verb(&untilSignal{Context: context.Background()}, args)
	count(args, time.Since(start), codeOf(err))
	return err
}

// printResult prints the result in the form of a version of the specification.
func printResult(w io.Writer, r types.Result, version string) error {
	as, err := r.GetAsVersion(version)
	if err != nil {
		return err
	}
	return as.PrintTo(w)
}

// codeOf is the CNI error code of err, 0 for nil.
func codeOf(err error) uint {
	var e *types.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Code
	}
	return types.ErrInternal
}

// asCNI is err as a runtime gets it.
func asCNI(err error) *types.Error {
	var e *types.Error
	if errors.As(err, &e) {
		return e
	}
	return types.NewError(types.ErrInternal, err.Error(), "")
}
