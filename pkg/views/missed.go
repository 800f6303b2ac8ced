package views

import (
	"context"
	"errors"
	"log/slog"

	"github.com/truesize/truesize/pkg/attach"
	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
)

// A Follower attaches what the agent missed while it was away: the containers
// that were created then.
type Follower struct {
	Node *Node
	Log  *slog.Logger
	// Attached is told of every container that got its view, Failed of every
	// one that did not.
	Attached, Failed func()

	tried map[attach.Process]bool
}

// Round tries every container that has not got a view, once each: what
// refuses a view, as a mount of the container's own, does not go away.
func (f *Follower) Round(ctx context.Context) {
	list, err := f.Node.Registry.List()
	if err != nil {
		f.Log.Debug("not every entry could be read", "error", err)
	}
	tried := make(map[attach.Process]bool, len(list))
	for _, c := range list {
		if ctx.Err() != nil {
			return
		}
		if !missed(c) {
			continue
		}
		p := process(c)
		if tried[p] = true; f.tried[p] {
			continue
		}
		results, err := f.Node.Attach(ctx, c.ID)
		switch {
		case errors.Is(err, registry.ErrNotFound):
			f.Log.Debug("a container ended before it got its view", "container", c.ID, "error", err)
		case errors.Is(err, attach.ErrViewDead):
			delete(tried, p) // not the container's fault
			fallthrough
		case err != nil, !mounted(results):
			f.Failed()
			f.Log.Warn("a container that was created without the agent goes on without its view",
				"container", c.ID, "pod", c.Pod, "namespace", c.Namespace, "results", results, "error", err)
		default:
			f.Attached()
			f.Log.Info("attached the view to a container that was created without the agent",
				"container", c.ID, "pod", c.Pod, "namespace", c.Namespace)
		}
	}
	f.tried = tried // no longer those of containers that are gone
}

// missed reports whether a container runs without the view that it could have.
func missed(c *registry.Container) bool {
	return c.PID != 0 && c.StartTicks != 0 && len(c.Mounts) == 0 && !c.Detached && (c.Skipped == string(inject.SkipEarlier) || c.Skipped == "")
}
