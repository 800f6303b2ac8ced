package nri

import (
	"context"
	"time"

	"github.com/containerd/nri/pkg/api"
)

// An updater changes running containers; a stub does.
type updater interface {
	UpdateContainers([]*api.ContainerUpdate) (failed []*api.ContainerUpdate, err error)
}

// balance gives containers the CPU sets that the manager chooses, whenever
// that may have changed, until ctx ends. It runs beside the handlers of
// requests: within one, an update would wait for the runtime, which waits for
// the handler.
func (c *Client) balance(ctx context.Context, u updater) {
	for {
		var again <-chan time.Time
		if !c.rebalance(u) {
			again = time.After(c.lastWait)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.cfg.Manager.Unbalanced():
		case <-again:
		}
	}
}

// rebalance applies the changes there are. It reports whether all succeeded.
func (c *Client) rebalance(u updater) bool {
	ok := true
	for _, set := range c.cfg.Manager.Rebalance() {
		// One by one: of several the runtime does not tell which have failed.
		update := &api.ContainerUpdate{ContainerId: set.ID}
		update.SetLinuxCPUSetCPUs(set.CPUs)
		start := time.Now()
		if _, err := u.UpdateContainers([]*api.ContainerUpdate{update}); err != nil {
			ok = false
			c.cfg.Observer.Error("cpuset")
			c.cfg.Log.Error("cannot change a container's CPU set, it keeps its own", "container", set.ID, "cpuset", set.CPUs, "error", err)
			continue
		}
		c.cfg.Manager.Applied(set)
		c.cfg.Log.Info("container moved", "container", set.ID, "cpuset", set.CPUs,
			"milliseconds", float64(time.Since(start).Microseconds())/1000)
	}
	return ok
}
