// Command truesize-viewd serves the view: the /proc and /sys files of the
// node's containers, each at its own size. It runs on the host, in the
// foreground, and outlives the agent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/truesize/truesize/pkg/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "truesize-viewd:", err)
		}
		os.Exit(1)
	}
}

// config is the command line.
type config struct {
	runDir, cgroupRoot, procRoot, sysRoot string
	freshness                             time.Duration
	threads                               int
	logLevel                              slog.Level
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c config
	flags := flag.NewFlagSet("truesize-viewd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.runDir, "run-dir", "/run/truesize", "`directory` of the registry, the view and the socket")
	flags.StringVar(&c.cgroupRoot, "cgroup-root", "/sys/fs/cgroup", "where the cgroup hierarchies are mounted")
	flags.StringVar(&c.procRoot, "proc-root", "/proc", "the host's /proc")
	flags.StringVar(&c.sysRoot, "sys-root", "/sys", "the host's /sys")
	flags.DurationVar(&c.freshness, "freshness", 50*time.Millisecond, "how old what a container reads may be, from 1ms to 1m")
	flags.IntVar(&c.threads, "threads", 2, "threads that serve requests, from 2 to 64")
	flags.TextVar(&c.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *showVersion {
		_, err := fmt.Fprintln(stdout, version.Get())
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case c.freshness < time.Millisecond || c.freshness > time.Minute:
		return fmt.Errorf("--freshness %v: want 1ms to 1m", c.freshness)
	case c.threads < 2 || c.threads > 64:
		return fmt.Errorf("--threads %d: want 2 to 64", c.threads)
	}
	return serve(ctx, c, slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: c.logLevel})))
}
