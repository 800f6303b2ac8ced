// Package agent assembles truesized: it makes the parts from a configuration
// and runs them. Nothing else knows them all.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/truesize/truesize/cni/reconcile"
	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/config"
	"github.com/truesize/truesize/pkg/garbage"
	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/lifecycle"
	"github.com/truesize/truesize/pkg/logs"
	"github.com/truesize/truesize/pkg/metrics"
	"github.com/truesize/truesize/pkg/nri"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/shimdir"
	"github.com/truesize/truesize/pkg/version"
	"github.com/truesize/truesize/pkg/viewd"
	"github.com/truesize/truesize/pkg/views"
	"github.com/truesize/truesize/shim"
)

const (
	procRoot   = "/proc"
	sysRoot    = "/sys"
	cgroupRoot = "/sys/fs/cgroup"
)

const (
	// reconcileEvery is how soon a change of limits that no runtime told of
	// is seen.
	reconcileEvery = 10 * time.Second
	// locateEvery is how often it is looked for the processes of containers of
	// whose start the runtime does not tell.
	locateEvery = time.Second
	// garbageRoom is what the heap may grow by, in bytes, before its garbage is
	// collected while a runtime may be waiting.
	garbageRoom = 8 << 20
	// attachEvery is how often it is looked for containers that were created
	// while the agent was away: the runtime tells of them on registration.
	attachEvery = 3 * time.Second
	// probeEvery is how often the view is asked whether it answers.
	probeEvery = time.Second
)

// Run runs the agent until ctx ends, which is no error. truesize-viewd, the
// view and the registry stay: running containers use them.
func Run(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	unlock, err := lock(cfg.RunDir)
	if err != nil {
		return err
	}
	defer unlock()
	a, err := newAgent(cfg, log)
	if err != nil {
		return err
	}
	defer a.cgroups.Close()
	log.Info("truesized starts", "version", version.Get().String(), "runDir", cfg.RunDir, "stateDir", cfg.StateDir)
	err = a.run(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil
	}
	log.Info("truesized ends, the view and the registry stay", "error", err)
	return err
}

// An agent is the parts, made and not yet running.
type agent struct {
	cfg       config.Config
	log       *slog.Logger
	metrics   *metrics.Metrics
	cgroups   *cgroup.FS
	manager   *lifecycle.Manager
	registry  *registry.Dir
	view      *viewd.Client
	health    *health
	pods      *pods
	sandboxes sandboxes
	logs      *logs.Component       // nil without the section logs
	network   *reconcile.Reconciler // nil when switched off
}

func newAgent(cfg config.Config, log *slog.Logger) (*agent, error) {
	a := &agent{cfg: cfg, log: log, metrics: metrics.New(), view: viewd.NewClient(cfg.RunDir)}
	dir, err := registry.Open(filepath.Join(cfg.RunDir, "containers"))
	if err != nil {
		return nil, err
	}
	a.metrics.Watch(dir)
	a.registry = dir
	a.health = newHealth(a.metrics, cfg.View)
	if a.cgroups, err = cgroup.Detect(cgroupRoot); err != nil {
		return nil, err
	}
	bootID, err := lifecycle.BootID(procRoot)
	if err != nil {
		a.cgroups.Close()
		return nil, err
	}
	source, target := a.installShim()
	node := lifecycle.Node{FS: a.cgroups, Proc: procRoot, Sys: sysRoot, CPUManagerState: cfg.CPUManagerState}
	possible, err := node.PossibleCPUs()
	if err != nil {
		a.log.Warn("the shim will report the node's online CPUs as configured", "error", err)
	}
	a.manager = lifecycle.New(lifecycle.Config{
		Registry: dir,
		Kernel:   node,
		View:     a.view,
		Inject: inject.Config{
			Namespaces: inject.Namespaces{Include: cfg.Include, Exclude: cfg.Exclude},
			Selector:   func(l map[string]string) bool { return cfg.Selector.Matches(labels.Set(l)) },
			View:       cfg.View, Shim: cfg.Shim, NumCPUs: cfg.NumCPUs,
			ViewDir:    a.view.Dir(),
			Files:      hostFiles(),
			ShimSource: source, ShimTarget: target, PageTarget: registry.SizePagePath,
			Env: cfg.Env, CPUSet: cfg.CPUSet,
		},
		ShimPresent:  func() bool { return present(source) },
		PossibleCPUs: possible,
		FromRequests: cfg.FromRequests,
		Via:          "nri",
		BootID:       bootID,
		Observer:     a.metrics,
		Log:          log,
	})
	if err := a.manager.ForgetEarlierBoots(); err != nil {
		a.log.Error("containers of an earlier boot are still registered", "error", err)
	}
	a.pods = newPods(a.manager)
	a.network = a.newNetwork()
	if a.logs, err = a.newLogs(); err != nil {
		a.cgroups.Close()
		return nil, err
	}
	return a, nil
}

// hostFiles returns the files of the view that this kernel has itself: over
// one that it has not, the runtime could not mount.
func hostFiles() []inject.File {
	var files []inject.File
	for _, f := range inject.Files() {
		if _, err := os.Lstat(f.Path); err == nil {
			files = append(files, f)
		}
	}
	return files
}

// installShim installs the shim and returns its path on the host and in
// containers. Without it containers are injected with the rest.
func (a *agent) installShim() (source, target string) {
	if !a.cfg.Shim {
		return "", ""
	}
	object, err := shim.Object(runtime.GOARCH)
	if err == nil {
		source, err = shimdir.Install(a.cfg.StateDir, object)
	}
	a.metrics.ShimInstalled(err == nil)
	if err != nil {
		a.metrics.Error("shim")
		a.log.Error("no shim: containers are injected without it", "error", err)
		return "", ""
	}
	return source, inject.ShimTarget(shim.Hash(object))
}

// present reports whether the shim is still there. Its content was verified
// when the agent started.
func present(path string) bool {
	info, err := os.Lstat(path)
	return path != "" && err == nil && info.Mode().IsRegular() && info.Size() > 0
}

// run runs the parts until one fails or ctx ends.
func (a *agent) run(ctx context.Context) error {
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	defer listeners.close()
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		group.Go(func() error { return a.serveHTTP(ctx, l) })
	}
	if a.cfg.View {
		group.Go(func() error { return a.supervisor().Run(ctx) })
		group.Go(func() error { return every(ctx, probeEvery, a.probe) })
		missed := a.follower()
		group.Go(func() error { return every(ctx, attachEvery, missed.Round) })
	}
	group.Go(func() error { return every(ctx, reconcileEvery, a.manager.Reconcile) })
	group.Go(func() error { return every(ctx, locateEvery, a.manager.Locate) })
	group.Go(func() error { return garbage.Collect(ctx, garbageRoom, 100) })
	group.Go(func() error {
		return nri.New(nri.Config{
			Socket: a.cfg.NRISocket, PluginName: a.cfg.NRIPluginName, PluginIndex: a.cfg.NRIPluginIndex,
			Manager: a.followed(), Observer: a.health, Sandboxes: &a.sandboxes, Log: a.log,
		}).Run(ctx)
	})
	if a.logs != nil {
		group.Go(func() error { return a.logs.Run(ctx) })
	}
	if a.network != nil {
		group.Go(func() error { return a.network.Run(ctx) })
	}
	return group.Wait()
}

// followed is what follows the containers. Their metadata is remembered where
// records of their logs are to have it.
func (a *agent) followed() nri.Manager {
	if a.logs == nil {
		return a.manager
	}
	return a.pods
}

func (a *agent) supervisor() *viewd.Supervisor {
	args := []string{"--freshness", a.cfg.Freshness.String(), "--log-level", levelName(a.cfg.LogLevel)}
	if !a.cfg.Prepare {
		args = append(args, "--prepare=false")
	}
	return &viewd.Supervisor{
		RunDir:  a.cfg.RunDir,
		Binary:  a.cfg.ViewBinary,
		HostDir: filepath.Join(a.cfg.StateDir, "viewd"),
		Args:    args,
		Log:     a.log,
		Started: a.metrics.ViewStarted,
		Failed:  func() { a.metrics.Error("viewd") },
	}
}

// follower gives views to the containers that were created without the agent.
func (a *agent) follower() *views.Follower {
	return &views.Follower{
		Node:     views.New(a.cfg.RunDir, procRoot, a.registry),
		Log:      a.log,
		Attached: a.metrics.ViewAttached,
		Failed:   func() { a.metrics.Error("attach") },
	}
}

// levelName returns a level as the programs' flags have it.
func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

// probe asks the view whether it answers.
func (a *agent) probe(ctx context.Context) {
	_, err := a.view.Version(ctx)
	if ctx.Err() != nil {
		return
	}
	a.health.viewAnswered(err)
}

// every calls work at once and then at every interval until ctx ends, and
// returns ctx's error.
func every(ctx context.Context, interval time.Duration, work func(context.Context)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		work(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// prepare makes the run directory.
func prepare(runDir string) error {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return fmt.Errorf("make run directory: %w: run as root, or choose another --run-dir", err)
	}
	return nil
}
