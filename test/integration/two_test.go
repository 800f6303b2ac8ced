package integration

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/test/stack"
)

// agentProcess starts one more agent with the stack's configuration. ended has
// what it wrote, and how it ended.
func agentProcess(t *testing.T) (cmd *exec.Cmd, ended <-chan error) {
	t.Helper()
	repo, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(repo, "bin")
	config, err := node.ConfigureAgent(bin, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, filepath.Join(bin, "truesized"), "--config", config)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out.String())
		}
		done <- err
	}()
	return cmd, done
}

// wantRefused checks that an agent has ended because of another.
func wantRefused(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "another truesized uses this run directory") || !strings.Contains(err.Error(), node.RunDir()) {
		t.Errorf("one agent too many ended with: %v", err)
	}
}

// wantInjectedOnce checks that a container has its size, by one mount of each
// file.
func wantInjectedOnce(t *testing.T, c *stack.Container) {
	t.Helper()
	wantSize(t, c, 1, 256)
	for _, path := range []string{"/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu/online"} {
		if n := sh(t, c, `grep -c " `+path+` " /proc/self/mountinfo`); n != "1" {
			t.Errorf("%s mounts of %s, want 1", n, path)
		}
	}
	wantSh(t, c, "echo $NUM_CPUS", "1")
}

// TestTwoAgents checks that of agents with one run directory one works, and
// the others end and say why: one that is started beside it, and those that
// are started at the same time as it. No container notices.
func TestTwoAgents(t *testing.T) {
	c := run(t, small())
	bad := reader(t, c)
	for range 3 {
		_, ended := agentProcess(t)
		wantInjectedOnce(t, run(t, small()))
		wantRefused(t, <-ended)
	}
	if _, err := node.Get(t.Context(), "/readyz"); err != nil {
		t.Errorf("the first agent: %v", err)
	}

	node.StopAgent()
	defer startAgent(t)
	const many = 4
	all := make(chan error, many)
	for range many {
		cmd, ended := agentProcess(t)
		defer cmd.Process.Kill()
		go func() { all <- <-ended }()
	}
	for range many - 1 {
		wantRefused(t, <-all)
	}
	eventually(t, func() error {
		_, err := node.Get(t.Context(), "/readyz")
		return err
	})
	wantInjectedOnce(t, run(t, small()))
	wantSize(t, c, 1, 256)
	if lines := bad(); lines != "" {
		t.Errorf("reads: %s", lines)
	}
}
