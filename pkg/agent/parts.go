package agent

import (
	"fmt"
	"path/filepath"

	cnimetrics "github.com/truesize/truesize/cni/metrics"
	"github.com/truesize/truesize/cni/reconcile"
	"github.com/truesize/truesize/pkg/logs"
	logmetrics "github.com/truesize/truesize/pkg/logs/metrics"
)

// newLogs makes log forwarding from its section of the configuration, nil
// where there is none.
func (a *agent) newLogs() (*logs.Component, error) {
	if a.cfg.Logs == nil {
		return nil, nil
	}
	var cfg logs.Config
	if err := a.cfg.Logs.Decode(&cfg); err != nil {
		return nil, err
	}
	c, err := logs.New(cfg, logs.Options{
		StateDir: a.cfg.StateDir, RunDir: a.cfg.RunDir, Metadata: a.pods, Log: a.log,
	})
	if err != nil {
		return nil, fmt.Errorf("logs: %w", err)
	}
	a.metrics.Register(logmetrics.New(c))
	return c, nil
}

// newNetwork makes what tidies up after the macvlan plugin, nil where that is
// switched off.
func (a *agent) newNetwork() *reconcile.Reconciler {
	if !a.cfg.Network {
		return nil
	}
	r := reconcile.New(reconcile.Config{
		RunDir: filepath.Join(a.cfg.RunDir, "cni"), StateDir: filepath.Join(a.cfg.StateDir, "cni"),
		Proc: procRoot, Sandboxes: a.sandboxes.all, Log: a.log,
	})
	a.metrics.Register(cnimetrics.New(r))
	return r
}
