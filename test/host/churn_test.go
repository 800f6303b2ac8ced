package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/reads"
	"github.com/truesize/truesize/test/stack"
	"github.com/truesize/truesize/test/systemd"
)

// Containers that come and go for ever leave nothing behind: not in the agent,
// nor in any process of the view, nor on the host.
func TestChurn(t *testing.T) {
	agent := startAgentPod(t, bin(t))
	pid, err := agent.PID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := status(t)
	count := scaled(60, 10_000)
	var c churn
	c.every, c.perPod = max(count/20, 20), min(max(count/15, 1), 12)
	c.run(t, count/3) // what is made once has been made
	first, left := settled(t, pid), state(t)
	c.run(t, count-count/3)
	last := settled(t, pid)
	t.Logf("FIGURES %s: %v; after a third %v; at the end %v", t.Name(), &c, first, last)
	for _, d := range last.grown(first) {
		t.Error(d)
	}
	wantLeft(t, left)
	if after := status(t); after.KeeperPID != before.KeeperPID || after.ServerPID != before.ServerPID {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// wantLeft checks that the host is as it was.
func wantLeft(t *testing.T, before map[string][]string) {
	t.Helper()
	after := state(t)
	for _, s := range []map[string][]string{before, after} {
		// A log that grew; and of the view's processes [usages] tells more.
		s["run directory"] = slices.DeleteFunc(s["run directory"], func(f string) bool { return filepath.Base(f) == "viewd.log.1" })
		// The machine's cgroups are others', too.
		s["cgroups"] = slices.DeleteFunc(s["cgroups"], func(dir string) bool {
			return !strings.Contains(dir, node.CgroupParent()) && !strings.Contains(dir, "/"+systemd.Cgroup())
		})
		s["processes"] = slices.DeleteFunc(s["processes"], func(comm string) bool { return comm == "truesize-viewd" })
	}
	for what := range before {
		if d := difference(before[what], after[what]); d != "" {
			t.Errorf("%s differ:\n%s", what, d)
		}
		if b, a := len(before[what]), len(after[what]); a != b { // some may be there twice
			t.Errorf("%d %s, before %d", a, what, b)
		}
	}
}

// A churn is containers that come and go, four at once.
type churn struct {
	every  int // so many, a line of progress
	perPod int

	number                                      atomic.Int64 // of the next container
	started, pods, unstarted, unstartable, left atomic.Int64
}

func (c *churn) String() string {
	return fmt.Sprintf("%d containers started, their size read in each, stopped and removed, %d of them by their pod's removal; "+
		"%d more never started, %d more that could not start; in %d pods",
		c.started.Load(), c.left.Load(), c.unstarted.Load(), c.unstartable.Load(), c.pods.Load())
}

// run has so many containers more come and go.
func (c *churn) run(t *testing.T, count int) {
	t.Helper()
	begin, until := time.Now(), c.number.Load()+int64(count)
	group, ctx := errgroup.WithContext(t.Context())
	for range 4 {
		group.Go(func() error {
			for c.number.Load() < until {
				if err := c.pod(t, ctx, until); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d containers in %v", count, time.Since(begin).Round(time.Second))
}

// pod has a pod and containers in it come and go.
func (c *churn) pod(t *testing.T, ctx context.Context, until int64) (err error) {
	p, err := node.RunPod(ctx, stack.Spec{})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, p.Remove(context.WithoutCancel(ctx)))
	}()
	c.pods.Add(1)
	for i := 1; i <= c.perPod; i++ {
		n := c.number.Add(1)
		if n > until {
			c.number.Add(-1)
			return nil
		}
		stays := i == c.perPod && n%2 == 0
		if err := c.container(ctx, p, int(n), stays); err != nil {
			return fmt.Errorf("container %d: %w", n, err)
		}
		if n%int64(c.every) == 0 {
			t.Logf("%d containers", n)
		}
	}
	return nil
}

// container has a container come, read its own size, and go, and every tenth
// time one that does not get so far. One that stays goes with its pod.
func (c *churn) container(ctx context.Context, p *stack.Pod, n int, stays bool) error {
	spec := stack.Spec{
		Container: fmt.Sprintf("c%d", n), Image: image.Small,
		CPUMilli: int64(1000 * (1 + n%2)), Memory: int64(64+n%100) << 20,
		Command: []string{"sh", "-c", readOnce},
	}
	if n%3 == 0 { // it ends by itself
		spec.Command[2] = strings.TrimSuffix(readOnce, lasting)
	}
	one, err := p.Create(ctx, spec)
	if err != nil {
		return err
	}
	if err := one.Start(ctx); err != nil {
		return err
	}
	if err := wantLog(ctx, one, fmt.Sprintf("%d CPUs %d kB", 1+n%2, spec.Memory>>10)); err != nil {
		return err
	}
	if c.started.Add(1); stays {
		c.left.Add(1)
		return nil
	}
	switch n % 10 {
	case 4:
		err = c.unfinished(ctx, p, spec, &c.unstarted)
	case 9:
		spec.Command = []string{"/nothing/there"}
		err = c.unfinished(ctx, p, spec, &c.unstartable)
	}
	return errors.Join(err, one.Delete(ctx))
}

// unfinished has a container come and go that does not get to run: it is
// started only if it cannot be.
func (c *churn) unfinished(ctx context.Context, p *stack.Pod, spec stack.Spec, count *atomic.Int64) error {
	spec.Container += "-unfinished"
	one, err := p.Create(ctx, spec)
	if err != nil {
		return err
	}
	if count == &c.unstartable && one.Start(ctx) == nil {
		return errors.New("it started")
	}
	count.Add(1)
	return one.Delete(ctx)
}

// readOnce is a command line that reads the files of the view, tells the size
// that they show, and lasts.
var readOnce = "cat /" + strings.Join(reads.Files(), " /") + " > /dev/null && " +
	`echo $(grep -c ^processor /proc/cpuinfo) CPUs $(awk '/^MemTotal:/ {print $2}' /proc/meminfo) kB` + lasting

const lasting = "; exec sleep 86400"

// wantLog waits for the container's only line, which its log has a time before.
func wantLog(ctx context.Context, c *stack.Container, line string) error {
	for deadline := time.Now().Add(generous); ; time.Sleep(5 * time.Millisecond) {
		data, err := os.ReadFile(c.Log)
		switch {
		case strings.HasSuffix(string(data), " "+line+"\n"):
			return nil
		case bytes.HasSuffix(data, []byte("\n")) || time.Now().After(deadline):
			return fmt.Errorf("it saw %q; want %q: %w", data, line, err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// settled waits until all that is registered is the agent's own container, in
// the view too, and returns what the processes have.
func settled(t *testing.T, agent int) usages {
	t.Helper()
	await(t, "end of the containers", func() bool {
		entries, err := registered()
		shown, viewErr := os.ReadDir(filepath.Join(node.RunDir(), "view"))
		return err == nil && viewErr == nil && len(entries) == 1 && len(shown) == 1 // .truesize
	})
	return measure(t, agent)
}

// registered returns the containers that are registered, finished or not.
func registered() (list []string, err error) {
	for _, pattern := range []string{"containers/[^.]*", "containers/.new/*"} {
		some, err := filepath.Glob(filepath.Join(node.RunDir(), pattern))
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	_, err = os.Stat(filepath.Join(node.RunDir(), "containers"))
	return list, err
}
