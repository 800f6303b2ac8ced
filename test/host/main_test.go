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
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/truesize/truesize/test/reads"
	"github.com/truesize/truesize/test/stack"
	"github.com/truesize/truesize/test/systemd"
)

// node is the containerd of all tests.
var node *stack.Stack

func TestMain(m *testing.M) {
	reads.Role()
	systemd.Main(func(ctx context.Context) (int, error) { return testInside(ctx, m) })
}

// testInside runs the tests on the host that was booted.
func testInside(ctx context.Context, m *testing.M) (status int, err error) {
	repo, err := filepath.Abs("../..")
	if err == nil {
		repo, err = filepath.EvalSymlinks(repo)
	}
	if err != nil {
		return 1, err
	}
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
			fmt.Fprintln(os.Stderr, node.Logs(16<<10))
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
