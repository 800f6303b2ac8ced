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
	"path/filepath"
	"syscall"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/pkg/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // nobody reading the log is no reason to end
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "truesize-viewd:", err)
		}
		os.Exit(1)
	}
}

// A role is what a process of this binary is there for.
type role string

const (
	keep     role = ""         // mount the view and keep a server running
	takeOver role = "takeover" // take that over from the running keeper
	ask      role = "ask"      // ask the running keeper
	starts   role = "start"    // start another in the background, or take over
	stops    role = "stop"     // stop the running keeper
	serves   role = keeper.ServerArg
	adopts   role = keeper.AdoptArg
)

// config is the command line.
type config struct {
	role                                  role
	args                                  []string // without the role
	upgrade                               string
	hostNS, cgroup                        string
	status                                bool
	runDir, cgroupRoot, procRoot, sysRoot string
	freshness                             time.Duration
	threads                               int
	prepare                               bool
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
	flags.BoolVar(&c.prepare, "prepare", true, "read what is read at a steady pace just before its reader comes, for the kernel's cache")
	flags.TextVar(&c.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	takesOver := flags.Bool("takeover", false, "take the view over from the running truesize-viewd, and serve it by this version")
	flags.StringVar(&c.upgrade, "upgrade", "", "have the running truesize-viewd serve by this `binary` from now on, and exit")
	flags.BoolVar(&c.status, "status", false, "print what the running truesize-viewd says of itself, in JSON, and exit")
	flags.StringVar(&c.hostNS, "host-ns", "", "mount `namespace` to run in: /proc/1/ns/mnt, from a pod with hostPID")
	flags.StringVar(&c.cgroup, "cgroup", "", "with --host-ns, `name` of a cgroup at the top of the host's hierarchies to run in")
	inBackground := flags.Bool("background", false, "start truesize-viewd in the background, or take over from the one that runs, and exit once it serves")
	stop := flags.Bool("stop", false, "stop the running truesize-viewd, and exit when it has ended")
	showVersion := flags.Bool("version", false, "print the version and exit")
	if len(args) == 2 && args[0] == string(prepares) {
		tune(0)
		return prepareReads(args[1], os.Stdin)
	}
	if len(args) > 0 && (args[0] == string(serves) || args[0] == string(adopts)) {
		c.role, args = role(args[0]), args[1:]
	}
	c.args = args
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case c.upgrade != "" || c.status:
		c.role = ask
	case *stop:
		c.role = stops
	case *inBackground:
		c.role = starts
	case *takesOver && c.role == keep:
		c.role = takeOver
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
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: c.logLevel}))
	if c.hostNS != "" {
		return leavePod(c)
	}
	if err := c.openRunDir(); err != nil {
		return err
	}
	switch c.role {
	case serves:
		return serve(ctx, c, stderr, log.With("role", "server"))
	case ask:
		return askKeeper(c, stdout)
	case starts:
		return startInBackground(ctx, c, stderr)
	case stops:
		return stopRunning(ctx, c)
	}
	return keepView(ctx, c, stderr, log.With("role", "keeper"))
}

// openRunDir makes the run directory and resolves its path.
func (c *config) openRunDir() (err error) {
	if err := os.MkdirAll(c.runDir, 0o755); err != nil {
		return err
	}
	if c.runDir, err = filepath.EvalSymlinks(c.runDir); err != nil {
		return err
	}
	c.runDir, err = filepath.Abs(c.runDir)
	return err
}

func (c *config) path(name string) string { return filepath.Join(c.runDir, name) }
