// Package reconcile is the agent's part of the network: it collects what
// runtimes forget (a reboot, a kill -9, a sandbox's directory removed by
// hand), puts right what a node loses (its shim links, routes, neighbours),
// and gives the plugin's counters a face. The plugin works without it.
//
// It must run in the node's network namespace, and see the node's network
// namespace files and the plugin's directories under their own paths.
package reconcile

import (
	"context"
	"log/slog"
	"time"

	"github.com/truesize/truesize/cni"
	"github.com/truesize/truesize/cni/counters"
)

// Config says where and how often.
type Config struct {
	RunDir   string        // "" for /run/truesize/cni
	StateDir string        // "" for /var/lib/truesize/cni
	Interval time.Duration // between passes; 0 for 30 seconds

	// Sandboxes returns the ids of all pod sandboxes that the runtime knows,
	// running or not; ok is false while that cannot be said. It may be nil.
	// A pod's attachment whose sandbox the runtime does not know in two passes,
	// and that is older than Grace, is collected although its namespace exists,
	// if no process is in that.
	Sandboxes func(context.Context) (ids map[string]bool, ok bool)
	Grace     time.Duration // 0 for two minutes
	Proc      string        // the node's proc file system; "" for /proc

	Log *slog.Logger // nil for slog.Default
}

// A Reconciler is the component. Run and Pass are for one
// goroutine; Snapshot may be called from any.
type Reconciler struct {
	cfg    Config
	missed map[string]bool // sandboxes not known to the runtime in the last pass
}

// New returns a component that has not started.
func New(cfg Config) *Reconciler {
	if cfg.Interval == 0 {
		cfg.Interval = 30 * time.Second
	}
	if cfg.Grace == 0 {
		cfg.Grace = 2 * time.Minute
	}
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Reconciler{cfg: cfg}
}

// Run passes over the node's attachments until ctx is done. What goes wrong in
// a pass is logged and tried again in the next; Run returns ctx's error only.
func (r *Reconciler) Run(ctx context.Context) error {
	t := time.NewTicker(r.cfg.Interval)
	defer t.Stop()
	for {
		if err := r.Pass(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn("network reconciliation is incomplete; the next pass tries again", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// Pass does one pass.
func (r *Reconciler) Pass(ctx context.Context) error {
	c, err := cni.NewCollector(r.cfg.RunDir, r.cfg.StateDir)
	if err != nil {
		return err
	}
	defer c.Close()
	dead := r.forgotten(ctx)
	if dead == nil {
		return c.Pass(ctx, nil)
	}
	return c.Pass(ctx, func(a cni.Attached) bool { return dead(a.ContainerID, a.Since) && !a.Inhabited(r.cfg.Proc) })
}

// forgotten returns a judge of which containers the runtime has forgotten.
func (r *Reconciler) forgotten(ctx context.Context) func(string, time.Time) bool {
	if r.cfg.Sandboxes == nil {
		return nil
	}
	known, ok := r.cfg.Sandboxes(ctx)
	if !ok {
		r.missed = nil
		return nil
	}
	before, now := r.missed, map[string]bool{}
	r.missed = now
	return func(id string, since time.Time) bool {
		if known[id] || time.Since(since) < r.cfg.Grace {
			return false
		}
		now[id] = true
		return before[id]
	}
}

// A Snapshot is what there is to show.
type Snapshot struct {
	counters.Snapshot
	Networks map[string]cni.NetworkUsage
}

// Snapshot reads the counters and the pools as they are now.
func (r *Reconciler) Snapshot() (Snapshot, error) {
	c, err := cni.NewCollector(r.cfg.RunDir, r.cfg.StateDir)
	if err != nil {
		return Snapshot{}, err
	}
	defer c.Close()
	var s Snapshot
	if s.Snapshot, err = c.Counters(); err != nil {
		return s, err
	}
	s.Networks, err = c.Usage()
	return s, err
}
