// Package integration runs Truesize on a real containerd, FUSE and cgroups,
// as root. The tests share one stack, whose agent runs at the end of each
// test as at its beginning.
//
// It runs the programs in bin/: make integration builds them first.
package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// node is the stack of all tests.
var node *stack.Stack

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	repo, err := repository()
	if err != nil {
		return 1, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	opts := stack.Options{Repo: repo, Progress: progress(), AppArmor: inGuest()}
	opts.Images = filepath.SplitList(os.Getenv("TRUESIZE_TEST_IMAGES"))
	if node, err = stack.Start(ctx, opts); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, node.Stop()) }()
	if err := node.StartAgent(ctx); err != nil {
		return 1, err
	}
	done := make(chan int, 1)
	go func() { done <- m.Run() }()
	select {
	case code = <-done:
		if code != 0 {
			fmt.Fprintln(os.Stderr, node.Logs(16<<10))
		}
		return code, nil
	case <-ctx.Done():
		return 1, errors.New("interrupted")
	}
}

// inGuest says whether this is a machine of test/guest, whose kernel has what
// the node's need not have, and which a test may change as it likes.
func inGuest() bool { return os.Getenv("TRUESIZE_GUEST") != "" }

// needGuest skips a test that runs in such a machine only.
func needGuest(t *testing.T) {
	t.Helper()
	if !inGuest() {
		t.Skip("make guest runs this test, in a machine with a kernel for it")
	}
}

// progress prints the stack's steps with the seconds since the start.
func progress() func(string) {
	begin := time.Now()
	return func(step string) { fmt.Printf("%5.1fs  %s\n", time.Since(begin).Seconds(), step) }
}

// repository returns the root of the repository with resolved links, as the
// kernel names the programs in it.
func repository() (string, error) {
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// small describes a container of the busybox image of 1 CPU and 256 MiB.
func small() stack.Spec {
	return stack.Spec{Image: image.Small, CPUMilli: 1000, Memory: 256 << 20}
}

// debian describes one of the Debian image of the same size.
func debian() stack.Spec {
	spec := small()
	spec.Image = image.Debian
	return spec
}

// run runs a container for the length of the test.
func run(t *testing.T, spec stack.Spec) *stack.Container {
	t.Helper()
	c, err := node.Run(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

// sh runs a command line in the container.
func sh(t *testing.T, c *stack.Container, line string) string {
	t.Helper()
	out, err := c.Shell(t.Context(), line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return out
}

// wantSh checks what a command line in the container prints.
func wantSh(t *testing.T, c *stack.Container, line, want string) {
	t.Helper()
	if got := sh(t, c, line); got != want {
		t.Errorf("%s: got %q, want %q", line, got, want)
	}
}

// Command lines that print a container's size as the view shows it.
const (
	countCPUs = "grep -c ^processor /proc/cpuinfo"
	memTotal  = "awk '/^MemTotal:/ {print $2}' /proc/meminfo"
)

// wantSize checks the size that the view shows, in CPUs and MiB.
func wantSize(t *testing.T, c *stack.Container, cpus, mib int) {
	t.Helper()
	wantSh(t, c, countCPUs, fmt.Sprint(cpus))
	wantSh(t, c, memTotal, fmt.Sprint(mib<<10))
}

// wantUntouched checks that a container is left alone: no view, no shim, no
// variable.
func wantUntouched(t *testing.T, c *stack.Container) {
	t.Helper()
	wantSh(t, c, "grep -c -e ' fuse.truesize ' -e ' /dev/truesize' /proc/self/mounts || true", "0")
	wantSh(t, c, "env | grep -c -e NUM_CPUS -e LD_PRELOAD -e GOMAXPROCS -e CPU_COUNT -e MALLOC_ARENA_MAX || true", "0")
	wantSh(t, c, countCPUs, hostSh(t, countCPUs))
	wantSh(t, c, memTotal, hostSh(t, memTotal))
}

// hostSh runs a command line on the node.
func hostSh(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// eventually waits until check returns nil. It fails the test with check's
// last error after a generous deadline.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Error(err)
}
