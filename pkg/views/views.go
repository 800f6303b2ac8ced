// Package views gives views to containers that already run, and takes them
// off, by the registry: it says which containers there are, and what pkg/attach
// then did is noted in it.
package views

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/truesize/truesize/pkg/attach"
	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
)

// ErrNotEligible says that a container is to be left alone.
var ErrNotEligible = errors.New("the container is left alone")

// A Node is the views of a node's containers.
type Node struct {
	RunDir   string
	ProcRoot string // a procfs of the host's pid namespace
	Registry *registry.Dir
	attacher *attach.Attacher
}

// New returns the node's views.
func New(runDir, procRoot string, reg *registry.Dir) *Node {
	return &Node{
		RunDir: runDir, ProcRoot: procRoot, Registry: reg,
		attacher: attach.New(attach.Options{RunDir: runDir, ProcRoot: procRoot}),
	}
}

// Attach gives container id its view: one that was created before the agent,
// or from which it was taken off. One that has it keeps it. The error wraps
// [ErrNotEligible], or is of pkg/attach or pkg/registry.
func (n *Node) Attach(ctx context.Context, id string) ([]attach.Result, error) {
	c, err := n.Registry.Get(id)
	if err != nil {
		return nil, err
	}
	switch inject.Skip(c.Skipped) {
	case "", inject.SkipEarlier, inject.SkipDetached:
	default:
		return nil, fmt.Errorf("%w: %s", ErrNotEligible, inject.Skip(c.Skipped).Explain())
	}
	if c, err = Started(ctx, n.Registry, c); err != nil {
		return nil, err
	}
	// The view shows the containers that are not skipped.
	before := c.Skipped
	if before != "" {
		if err := n.edit(id, func(c *registry.Container) { c.Skipped = "" }); err != nil {
			return nil, err
		}
	}
	results, err := n.attacher.Attach(ctx, process(c), n.files(c))
	return results, errors.Join(err, n.edit(id, func(c *registry.Container) {
		if c.Skipped == "" && (err != nil || !mounted(results)) {
			c.Skipped = before
		}
		for _, r := range results {
			if r.Outcome != attach.Refused {
				c.Mounts = appendNew(c.Mounts, r.Target)
				c.Detached = false
			}
		}
	}))
}

const (
	// young is the age up to which a container may have started without the
	// registry saying so: the agent looks for its process once a second.
	young     = 10 * time.Second
	startedIn = 5 * time.Second
)

// Started returns the entry of a container with its process. Of one that has
// just been created it waits for that. The error wraps [attach.ErrGone], or is
// of pkg/registry.
func Started(ctx context.Context, reg *registry.Dir, c *registry.Container) (*registry.Container, error) {
	patience := time.Now()
	if time.Since(c.CreatedAt) < young {
		patience = patience.Add(startedIn)
	}
	for c.PID == 0 && time.Now().Before(patience) && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		now, err := reg.Get(c.ID)
		if err != nil {
			return nil, err
		}
		c = now
	}
	if c.PID == 0 {
		return nil, fmt.Errorf("container %s: %w: it has not started", c.ID, attach.ErrGone)
	}
	return c, nil
}

// edit changes what the registry says of a container by then: the agent may
// change it at any time.
func (n *Node) edit(id string, change func(*registry.Container)) error {
	defer n.Registry.Lock(id)()
	c, err := n.Registry.Get(id)
	if err != nil {
		return err
	}
	change(c)
	return n.Registry.Update(c)
}

func mounted(results []attach.Result) bool {
	for _, r := range results {
		if r.Outcome != attach.Refused {
			return true
		}
	}
	return false
}

func appendNew(list []string, s string) []string {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

// files returns what is mounted in a container, of those that this kernel has.
func (n *Node) files(c *registry.Container) (list []attach.File) {
	for _, f := range inject.Files() {
		if _, err := os.Lstat(f.Path); err == nil {
			list = append(list, attach.File{Source: filepath.Join(n.RunDir, "view", c.ID, f.Path), Target: f.Path})
		}
	}
	return list
}

func process(c *registry.Container) attach.Process {
	return attach.Process{PID: c.PID, StartTicks: c.StartTicks}
}

// Detach takes the view off container id, whose files are the host's from then
// on, and notes it, so that the agent does not attach it again.
func (n *Node) Detach(ctx context.Context, id string) ([]attach.Result, error) {
	c, err := n.Registry.Get(id)
	if err != nil {
		return nil, err
	}
	if c, err = Started(ctx, n.Registry, c); err != nil {
		return nil, err
	}
	results, err := n.attacher.Detach(ctx, process(c), nil)
	if err != nil && !errors.Is(err, attach.ErrGone) {
		return nil, err
	}
	return results, n.edit(id, func(c *registry.Container) {
		c.Mounts = nil
		for _, r := range results {
			if r.Outcome == attach.Refused {
				c.Mounts = appendNew(c.Mounts, r.Target)
			}
		}
		c.Detached = len(c.Mounts) == 0
		// One with the shim is still sized: its size page follows a resize.
		if c.Skipped == "" && c.Detached && c.Shim == "" {
			c.Skipped = string(inject.SkipDetached)
		}
	})
}

// DetachAll takes the view off every mount namespace of the node, whether the
// registry knows its container or not. The number is of those it was taken
// off.
func (n *Node) DetachAll(ctx context.Context) (int, error) {
	list, err := n.attacher.Namespaces()
	errs := []error{err}
	count := 0
	for _, ns := range list {
		results, err := n.attacher.Detach(ctx, ns.Process, nil)
		if errors.Is(err, attach.ErrGone) {
			continue
		}
		errs = append(errs, err)
		for _, r := range results {
			if r.Err != nil {
				errs = append(errs, fmt.Errorf("process %d: %w", ns.Process.PID, r.Err))
			}
		}
		if len(results) > 0 {
			count++
		}
	}
	return count, errors.Join(errs...)
}

// Repair puts the view into the place of those that died: see
// [attach.Attacher.Repair].
func (n *Node) Repair(ctx context.Context) ([]attach.Repair, error) {
	return n.attacher.Repair(ctx, func(p attach.Process, id string) bool {
		return Owns(n.Registry, n.ProcRoot, id, p)
	})
}

// Owns reports whether process p belongs to container id: to the one whose
// process the registry has or, as long as it has none, whose cgroup. procRoot is
// the host's procfs.
func Owns(reg *registry.Dir, procRoot, id string, p attach.Process) bool {
	c, err := reg.Get(id)
	if err != nil {
		return false
	}
	if c.PID != 0 {
		return attach.SameContainer(procRoot, p, process(c))
	}
	data, err := os.ReadFile(filepath.Join(procRoot, strconv.Itoa(p.PID), "cgroup"))
	if err != nil {
		return false
	}
	own, err := cgroup.ParseProcCgroup(data)
	return err == nil && cgroup.Within(own, c.Cgroup)
}
