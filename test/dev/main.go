// Dev is the development stack behind make run, make up and make down: a
// private containerd with Truesize's agent on this node.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

const usage = `usage: dev <command>, in the repository's root
  run     start the stack with two containers, compare them, show their logs
          arriving in Kafka, take it down
  up      start the stack and leave it running; run/dev.env describes it
  down    stop the stack that up started
  images  make the containers' images
`

func main() {
	if len(os.Args) > 2 && os.Args[1] == nodeCommand {
		fatal(onNode(os.Args[2], os.Args[3:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	err := interrupted(ctx, run(ctx, os.Args[1:], os.Stdin, os.Stdout))
	stop()
	fatal(err)
}

// interrupted returns what is to be said of a command's error: that it was
// interrupted, unless something is left of the stack.
func interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, stack.ErrLeft) {
		return err
	}
	return errors.New("interrupted; everything was taken down")
}

// fatal ends the program, with status 1 if err is one.
func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "dev:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, args []string, stdin *os.File, stdout io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("one command is wanted\n%s", usage)
	}
	repo, err := repository()
	if err != nil {
		return err
	}
	d := &dev{repo: repo, out: stdout, begin: time.Now()}
	switch args[0] {
	case "run":
		return d.run(ctx, stdin)
	case "up":
		return d.up(ctx)
	case "down":
		return d.down()
	case "images":
		_, err := image.Ensure(ctx, filepath.Join(repo, "run", "images"), d.progress)
		return err
	}
	return fmt.Errorf("no command %q\n%s", args[0], usage)
}

// A dev runs one command.
type dev struct {
	repo  string
	out   io.Writer
	begin time.Time
}

// progress prints a step with the seconds since the command began.
func (d *dev) progress(step string) {
	fmt.Fprintf(d.out, "%5.1fs  %s\n", time.Since(d.begin).Seconds(), step)
}

// start starts a stack with the agent. Sections returns what is added to the
// agent's configuration.
func (d *dev) start(ctx context.Context, sections func(*stack.Stack) string) (*stack.Stack, error) {
	s, err := stack.Start(ctx, stack.Options{Repo: d.repo, Progress: d.progress})
	if err != nil {
		return nil, err
	}
	if err := s.StartAgentWith(ctx, sections(s)); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// repository returns the repository's root, which must be the working
// directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "test", "dev")); err != nil {
		return "", fmt.Errorf("%s is not the repository's root: %w", dir, err)
	}
	return dir, nil
}

// dieWithParent makes this process see a SIGTERM when make is killed: then
// it takes everything down.
func dieWithParent() error {
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0)
}
