package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// run is make run: the stack, two containers of the same limits, one of them
// with Truesize, what programs in them say of their size, and what they print
// as it arrives in Kafka.
func (d *dev) run(ctx context.Context, stdin *os.File) (err error) {
	if err := dieWithParent(); err != nil {
		return fmt.Errorf("watch the parent: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if isTerminal(stdin) {
		go func() {
			awaitHangup(stdin)
			cancel(errHangup)
		}()
	}
	kafka, err := newKafka()
	if err != nil {
		return err
	}
	defer kafka.Close()
	s, err := d.start(ctx, kafka.section)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()

	d.progress("starting two containers of 1 CPU and 256 MiB, one plain and one with Truesize")
	plain, err := s.Run(ctx, debian("plain", map[string]string{"truesize.dev/inject": "false"}))
	if err != nil {
		return err
	}
	sized, err := s.Run(ctx, debian("sized", nil))
	if err != nil {
		return err
	}
	d.progress("asking nproc, free, top, Node.js and Java for their size")
	node, err := newNode(plain)
	if err != nil {
		return err
	}
	t := compare(ctx, node, plain, sized)
	if err := ctx.Err(); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n%s\n", t)
	if err := t.err(); err != nil {
		return err
	}
	if err := d.arrivals(ctx, kafka); err != nil {
		return err
	}
	if !isTerminal(stdin) {
		return nil
	}
	fmt.Fprintln(d.out, "This is a shell in the container with Truesize. Leaving it takes everything down.")
	return shell(ctx, s, sized, stdin)
}

// debian describes a container of the Debian image with the limits of the
// comparison.
func debian(name string, annotations map[string]string) stack.Spec {
	return stack.Spec{
		Name: name, Image: image.Debian, Annotations: annotations, Labels: map[string]string{"app": "shop"},
		CPUMilli: 1000, Memory: 256 << 20, Command: []string{"sh", "-c", chatter},
	}
}

// shell opens an interactive shell in the container. How it ends is the
// user's affair, not an error.
func shell(ctx context.Context, s *stack.Stack, c *stack.Container, stdin *os.File) error {
	cmd := exec.CommandContext(ctx, s.Program("crictl"), s.CrictlArgs("exec", "-it", c.ID, "bash")...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return nil
	}
	return err
}

var errHangup = errors.New("the terminal was closed")

// awaitHangup returns when the terminal goes away. A terminal that closes
// signals its session's leader only, which may be make (ssh -t NODE make
// run): make waits for its child, and the child would for its input.
func awaitHangup(terminal *os.File) {
	for {
		fds := []unix.PollFd{{Fd: int32(terminal.Fd())}} // no events: POLLHUP and POLLERR are always told
		if n, err := unix.Poll(fds, -1); n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
