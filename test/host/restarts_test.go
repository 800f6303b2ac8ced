package host

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/test/stack"
)

// Containers come and go while the agent and containerd are killed by turns.
// Whatever they were at, nothing of a container is left when it has gone, and
// none had files that it could not read.
func TestChurnAcrossRestarts(t *testing.T) {
	if err := node.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.KillAgent)
	kills := scaled(4, 100)
	var c churn
	c.every, c.perPod = max(5*kills, 20), 6
	c.run(t, 8) // what is made once has been made
	noContainers(t)
	first, left := viewUsage(t), truesizeState(t)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				c.podAnyway(t)
			}
		})
	}
	for i := range kills {
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		kill, start := node.KillAgent, node.StartAgent
		if i%2 == 1 {
			kill, start = node.KillContainerd, node.StartContainerd
		}
		kill()
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
		if err := start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	wg.Wait()
	await(t, "registered agent", func() bool { _, ok := agentGet("/readyz"); return ok })
	removeAll(t)
	noContainers(t)
	last := viewUsage(t)
	t.Logf("FIGURES %s: %d kills of agent and containerd by turns; %v; before %v; after %v", t.Name(), kills, &c, first, last)
	for _, d := range last.grown(first) {
		t.Error(d)
	}
	after := truesizeState(t)
	for what := range left {
		if d := difference(left[what], after[what]); d != "" {
			t.Errorf("%s differ:\n%s", what, d)
		}
	}
}

// The agent is killed when it has registered a container and has not answered
// yet. The runtime creates it without, and it gets its view when the agent is
// back, whatever the registry said.
func TestAgentKilledBeforeItsAnswer(t *testing.T) {
	if err := node.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.KillAgent)
	noContainers(t)
	spec := small()
	// While the view stands still, the agent waits for it, for a time.
	server := status(t).ServerPID
	if err := unix.Kill(server, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	type created struct {
		c   *stack.Container
		err error
	}
	done := make(chan created, 1)
	go func() {
		c, err := node.Run(t.Context(), spec)
		done <- created{c, err}
	}()
	await(t, "entry", func() bool {
		entries, err := filepath.Glob(filepath.Join(node.RunDir(), "containers/*/container.json"))
		return err == nil && len(entries) == 1
	})
	node.KillAgent()
	_ = unix.Kill(server, unix.SIGCONT) // its keeper may have replaced it
	made := <-done
	if made.err != nil {
		t.Fatal(made.err)
	}
	t.Cleanup(func() { removePod(t, made.c) })
	if sized(t, made.c, spec) {
		t.Fatal("the agent has answered")
	}
	if err := node.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "view of a container whose creation was not answered", func() bool { return sized(t, made.c, spec) })
}

// podAnyway has a pod and containers come and go, as far as they come. What is
// left of them is removed in the end.
func (c *churn) podAnyway(t *testing.T) {
	ctx := context.WithoutCancel(t.Context())
	p, err := node.RunPod(ctx, stack.Spec{})
	if err != nil {
		return // containerd is away
	}
	c.pods.Add(1)
	for range c.perPod {
		err := c.container(ctx, p, int(c.number.Add(1)), false)
		if err == nil {
			continue
		}
		// One that was created without the agent sees the node's size; another
		// may have been started and not told so.
		if strings.Contains(err.Error(), "cat: ") {
			t.Error(err)
		}
		break
	}
	// Its containers first: see [stack.Container.Remove].
	ids, err := node.Crictl(ctx, "ps", "--all", "--quiet", "--pod", p.ID)
	if err == nil {
		for _, id := range strings.Fields(ids) {
			if _, err = node.Crictl(ctx, "rm", "--force", id); err != nil {
				return
			}
		}
		_ = p.Remove(ctx)
	}
}

// removeAll removes every container and pod of the runtime.
func removeAll(t *testing.T) {
	t.Helper()
	for _, kind := range [][2][]string{{{"ps", "--all", "--quiet"}, {"rm", "--force"}}, {{"pods", "--quiet"}, {"rmp", "--force"}}} {
		await(t, "end of all that "+kind[0][0]+" lists", func() bool {
			ids, err := node.Crictl(t.Context(), kind[0]...)
			for _, id := range strings.Fields(ids) {
				_, _ = node.Crictl(t.Context(), append(kind[1], id)...) // until none is left
			}
			return err == nil && ids == ""
		})
	}
}

// noContainers waits until nobody knows of a container any more: not the
// registry, not the view, not the agent.
func noContainers(t *testing.T) {
	t.Helper()
	var left string
	for deadline := time.Now().Add(generous); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		entries, err := registered()
		shown, viewErr := os.ReadDir(filepath.Join(node.RunDir(), "view"))
		left = fmt.Sprint(entries, " registered ", err, shown, viewErr)
		if err == nil && viewErr == nil && len(entries) == 0 && len(shown) == 1 { // .truesize
			return
		}
	}
	t.Errorf("what is left of containers: %s", left)
}

// viewUsage returns what the view's processes hold.
func viewUsage(t *testing.T) usages {
	t.Helper()
	all := make(usages)
	for name, pid := range viewProcesses(t) {
		all[name] = usageOf(t, pid)
	}
	return all
}

// truesizeState is the part of [state] that is Truesize's: containerd and runc
// that are killed leave things behind.
func truesizeState(t *testing.T) map[string][]string {
	t.Helper()
	all := state(t)
	s := map[string][]string{"run directory": all["run directory"], "state directory": all["state directory"]}
	for _, m := range all["mounts"] {
		if strings.Contains(m, node.RunDir()) {
			s["mounts"] = append(s["mounts"], m)
		}
	}
	return s
}
