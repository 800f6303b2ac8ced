package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/truesize/truesize/test/stack"
)

// startAgent starts the agent again, at the latest when the test ends.
func startAgent(t *testing.T) {
	t.Helper()
	if err := node.StartAgent(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, node.Logs(16<<10))
	}
}

// reader starts a loop in the container that reads the view without pause
// and notes every read that is wrong. stop ends it and returns its notes.
func reader(t *testing.T, c *stack.Container) (stop func() string) {
	t.Helper()
	sh(t, c, `(while [ ! -e /tmp/stop ]; do
		grep -q '^MemTotal: *262144 kB' /proc/meminfo || echo bad >> /tmp/bad
		echo . >> /tmp/reads
	done; touch /tmp/stopped) >/dev/null 2>&1 &`)
	return func() string {
		return sh(t, c, `touch /tmp/stop
			while [ ! -e /tmp/stopped ]; do sleep 0.05; done
			[ -s /tmp/reads ] || echo 'no read'
			cat /tmp/bad 2>/dev/null || true`)
	}
}

// TestAgentEnds checks that containers keep their view while the agent is
// away, whichever way it went, and that it takes them up again.
func TestAgentEnds(t *testing.T) {
	for name, end := range map[string]func(){"stopped": node.StopAgent, "killed": node.KillAgent} {
		t.Run(name, func(t *testing.T) {
			c := run(t, small())
			stop := reader(t, c)
			end()
			wantSize(t, c, 1, 256)
			meanwhile := run(t, small()) // runs, unsized
			sh(t, meanwhile, "true")
			startAgent(t)
			wantSize(t, c, 1, 256)
			if bad := stop(); bad != "" {
				t.Errorf("reads while the agent was away: %s", bad)
			}
			wantSize(t, run(t, small()), 1, 256)
			if err := c.Resize(t.Context(), 2000, 512<<20); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error {
				if got := sh(t, c, memTotal); got != fmt.Sprint(512<<10) {
					return fmt.Errorf("%s kB after a resize", got)
				}
				return nil
			})
		})
	}
}

// TestResizeWhileAway checks that the agent finds a change it has missed.
func TestResizeWhileAway(t *testing.T) {
	c := run(t, small())
	node.StopAgent()
	err := c.Resize(t.Context(), 2000, 512<<20)
	startAgent(t)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if cpus, mem := sh(t, c, countCPUs), sh(t, c, memTotal); cpus != "2" || mem != fmt.Sprint(512<<10) {
			return fmt.Errorf("%s CPUs, %s kB", cpus, mem)
		}
		return nil
	})
}

// TestContainerdRestarts checks that the agent registers again.
func TestContainerdRestarts(t *testing.T) {
	c := run(t, small())
	node.StopContainerd()
	if err := node.StartContainerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSize(t, c, 1, 256)
	eventually(t, func() error {
		_, err := node.Get(t.Context(), "/readyz")
		return err
	})
	wantSize(t, run(t, small()), 1, 256)
}

// TestStatus checks the admin's tool and the agent's HTTP on a container.
func TestStatus(t *testing.T) {
	spec := small()
	spec.Name = "status-pod"
	c := run(t, spec)

	out, err := node.Truesize(t.Context(), "status", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid([]byte(out)) {
		t.Errorf("status -o json is no JSON: %s", out)
	}
	for _, args := range [][]string{{"status"}, {"status", "-o", "json"}, {"explain", c.ID}} {
		out, err := node.Truesize(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out, "status-pod") {
			t.Errorf("%v does not name the pod:\n%s", args, out)
		}
	}
	for path, want := range map[string]string{"/healthz": "", "/readyz": "", "/metrics": "truesize_"} {
		body, err := node.Get(t.Context(), path)
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(body, want) {
			t.Errorf("%s has no %q:\n%s", path, want, body)
		}
	}
}
