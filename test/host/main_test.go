// Package host shows what happens to Truesize on a whole node: systemd as its
// first process, containerd, and the agent in a pod of that. It runs them for
// real, in namespaces and cgroups of their own, on a machine whose own first
// process may be anything.
//
// It runs the programs in bin/: make integration builds them first.
package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/test/reads"
	"github.com/truesize/truesize/test/stack"
)

// node is the containerd of all tests.
var node *stack.Stack

func TestMain(m *testing.M) {
	reads.Role()
	status, err := 0, error(nil)
	switch os.Getenv(roleVar) {
	case joinRole:
		err = join()
	case bootRole:
		err = becomeInit()
	case testRole:
		status, err = testInside(m)
	default:
		status, err = outside()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		status = 1
	}
	os.Exit(status)
}

// testInside runs the tests on the host that was booted.
func testInside(m *testing.M) (status int, err error) {
	if err := os.Unsetenv(roleVar); err != nil {
		return 1, err
	}
	if err := os.Chdir(os.Getenv(dirVar)); err != nil {
		return 1, err
	}
	repo, err := filepath.Abs("../..")
	if err == nil {
		repo, err = filepath.EvalSymlinks(repo)
	}
	if err != nil {
		return 1, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	begin := time.Now()
	node, err = stack.Start(ctx, stack.Options{Repo: repo, Progress: func(step string) {
		fmt.Printf("%5.1fs  %s\n", time.Since(begin).Seconds(), step)
	}})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, node.Stop()) }()
	done := make(chan int, 1)
	go func() { done <- m.Run() }()
	select {
	case status = <-done:
		if status != 0 {
			fmt.Fprintln(os.Stderr, node.Logs())
		}
		return status, nil
	case <-ctx.Done():
		return 1, errors.New("interrupted")
	}
}

// scaled returns one of two counts: that of make test, or that of make soak; or
// what TRUESIZE_EVENTS says.
func scaled(short, long int) int {
	if n, err := strconv.Atoi(os.Getenv("TRUESIZE_EVENTS")); err == nil {
		return n
	}
	if os.Getenv("TRUESIZE_SOAK") != "" {
		return long
	}
	return short
}
