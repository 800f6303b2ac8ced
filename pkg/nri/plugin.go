// Package nri adapts truesize to the Node Resource Interface of containerd
// and CRI-O: it registers as a plugin, translates the events of containers
// for pkg/lifecycle, and the plans of pkg/inject for the runtime.
//
// Two rules of NRI shape it. An error returned from a creation fails the
// container, so none is ever returned; and a plugin slower than the runtime's
// request timeout (2 s) is disconnected, so every request has a shorter one.
// See github.com/containerd/nri, README and docs.
package nri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/lifecycle"
)

// Manager is the part of [lifecycle.Manager] that is used here.
type Manager interface {
	Create(ctx context.Context, s lifecycle.Spec) (inject.Adjustment, error)
	Abandon(id string)
	Refresh(s lifecycle.Spec) error
	Remove(id string) error
	Synchronize(specs []lifecycle.Spec) error
	Unbalanced() <-chan struct{}
	Rebalance() []lifecycle.CPUSet
	Applied(lifecycle.CPUSet)
}

// An Observer is told what happens, for metrics.
type Observer interface {
	// Request is told how long a request took to handle.
	Request(name string, d time.Duration)
	// Injection is told the end of every creation: failed ones got nothing.
	Injection(a inject.Adjustment, failed bool)
	// Connected is told when the plugin becomes registered, and stops being.
	Connected(ok bool)
	// Error is told of an operation that failed.
	Error(op string)
}

// requestDeadline is when a request is answered whatever is left to do. It
// leaves half of NRI's 2 s to a machine under load.
const requestDeadline = time.Second

// plugin handles the requests of one connection.
type plugin struct {
	manager   Manager
	observer  Observer
	sandboxes Sandboxes
	log       *slog.Logger
	deadline  time.Duration
	turns     turns
	// configured is called when the runtime has taken the plugin, ready when it
	// has told all there is.
	configured, ready func()
}

var (
	_ stub.ConfigureInterface           = (*plugin)(nil)
	_ stub.SynchronizeInterface         = (*plugin)(nil)
	_ stub.CreateContainerInterface     = (*plugin)(nil)
	_ stub.PostStartContainerInterface  = (*plugin)(nil)
	_ stub.PostUpdateContainerInterface = (*plugin)(nil)
	_ stub.StopContainerInterface       = (*plugin)(nil)
	_ stub.RemoveContainerInterface     = (*plugin)(nil)
)

// Configure accepts the runtime and subscribes to the events handled here; not
// to PostStartContainer where the process is found without it, for whoever
// starts a container waits until that is handled
// (docs/decisions/0011-process.md).
func (p *plugin) Configure(_ context.Context, _, runtime, version string) (api.EventMask, error) {
	p.log.Info("configured by the runtime", "runtime", runtime, "version", version)
	p.configured()
	if runtime != "containerd" {
		return 0, nil // all
	}
	var events api.EventMask
	events.Set(api.Event_RUN_POD_SANDBOX, api.Event_REMOVE_POD_SANDBOX,
		api.Event_CREATE_CONTAINER, api.Event_POST_UPDATE_CONTAINER, api.Event_STOP_CONTAINER, api.Event_REMOVE_CONTAINER)
	return events, nil
}

// Synchronize learns of the containers that exist. The registration is
// complete with it.
func (p *plugin) Synchronize(ctx context.Context, pods []*api.PodSandbox, list []*api.Container) ([]*api.ContainerUpdate, error) {
	byID := make(map[string]*api.PodSandbox, len(pods))
	for _, pod := range pods {
		byID[pod.GetId()] = pod
	}
	specs := make([]lifecycle.Spec, 0, len(list))
	for _, c := range list {
		specs = append(specs, spec(byID[c.GetPodSandboxId()], c))
	}
	p.handle(ctx, "Synchronize", "", func() error { return p.manager.Synchronize(specs) })
	p.sandboxes.Known(idsOf(pods))
	p.log.Info("registered with the runtime", "pods", len(pods), "containers", len(list))
	p.ready()
	return nil, nil
}

// CreateContainer answers what to add to a container.
func (p *plugin) CreateContainer(ctx context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	start := time.Now()
	s := spec(pod, c)
	var (
		a       inject.Adjustment
		settled atomic.Bool // by the first of: the plan is made, the wait is over
	)
	err := p.handle(ctx, "CreateContainer", s.ID, func() error {
		ctx, cancel := context.WithTimeout(ctx, p.deadline)
		defer cancel()
		plan, err := p.manager.Create(ctx, s)
		a = plan // before it is settled: who then finds it settled reads it
		if err == nil && settled.CompareAndSwap(false, true) {
			return nil
		}
		p.manager.Abandon(s.ID)
		return err
	})
	if err != nil && settled.CompareAndSwap(false, true) {
		p.observer.Injection(inject.Adjustment{}, true)
		return nil, nil, nil
	}
	p.observer.Injection(a, false)
	answer := adjustment(a)
	p.logPlan(s, a, time.Since(start))
	return answer, nil, nil
}

// logPlan tells the admin what became of a new container, and for how long the
// runtime waited for it.
func (p *plugin) logPlan(s lifecycle.Spec, a inject.Adjustment, took time.Duration) {
	args := []any{"container", s.ID, "name", s.Name, "pod", s.Pod, "namespace", s.Namespace}
	if a.Skip != "" {
		p.log.Debug("container left alone", append(args, "reason", a.Skip)...)
	} else {
		p.log.Info("container injected", append(args, "views", len(a.Views), "shim", a.Shim != "", "env", len(a.Env), "cpuset", a.CPUSet, "took", took.String())...)
	}
	for _, o := range a.Omissions {
		p.log.Warn("part of an injection left out", append(args, "what", o.What, "reason", o.Why)...)
	}
	for _, w := range a.Warnings {
		p.log.Warn("unusable input", append(args, "warning", w)...)
	}
}

// refreshAfter is how long a start's work waits for the answer to be on its
// way: the two would share a CPU, and the runtime needs the answer.
const refreshAfter = 5 * time.Millisecond

// PostStartContainer notes the process and its cgroup, with runtimes other than
// containerd. The entry has the size and the path of the cgroup since the
// creation, so a program that runs before sees its own numbers, and nobody need
// wait. The earlier events come while the container's start waits for their
// answers, and PostCreateContainer does not have the process with every runtime.
func (p *plugin) PostStartContainer(ctx context.Context, pod *api.PodSandbox, c *api.Container) error {
	s := spec(pod, c)
	r := p.begin("PostStartContainer", s.ID, func() error {
		time.Sleep(refreshAfter)
		return p.manager.Refresh(s)
	})
	go p.await(context.WithoutCancel(ctx), r)
	return nil
}

// PostUpdateContainer follows a resize, once the kernel has the new limits:
// what it then says is true even where the runtime applied only a part.
func (p *plugin) PostUpdateContainer(ctx context.Context, pod *api.PodSandbox, c *api.Container) error {
	s := spec(pod, c)
	p.handle(ctx, "PostUpdateContainer", s.ID, func() error { return p.manager.Refresh(s) })
	return nil
}

// StopContainer forgets a container when it has stopped: the runtime never
// starts one again.
func (p *plugin) StopContainer(ctx context.Context, _ *api.PodSandbox, c *api.Container) ([]*api.ContainerUpdate, error) {
	p.handle(ctx, "StopContainer", c.GetId(), func() error { return p.manager.Remove(c.GetId()) })
	return nil, nil
}

// RemoveContainer forgets a container, also one whose creation failed.
func (p *plugin) RemoveContainer(ctx context.Context, _ *api.PodSandbox, c *api.Container) error {
	p.handle(ctx, "RemoveContainer", c.GetId(), func() error { return p.manager.Remove(c.GetId()) })
	return nil
}

var (
	errDeadline = errors.New("not done in time")
	errPanic    = errors.New("panic")
)

// handle runs a request's work until it is done or the deadline is over, and
// observes it.
func (p *plugin) handle(ctx context.Context, name, id string, work func() error) error {
	return p.await(ctx, p.begin(name, id, work))
}

// A request is one whose work has begun.
type request struct {
	name, id string
	start    time.Time
	done     <-chan error
}

// begin begins a request's work, which comes after that of the container's
// earlier requests. A panic costs this request, not the agent: containers would
// go without injection until it was back.
func (p *plugin) begin(name, id string, work func() error) request {
	before, leave := p.turns.take(id)
	done := make(chan error, 1)
	go func() {
		defer leave()
		defer func() {
			if r := recover(); r != nil {
				p.log.Error("request handler panicked", "request", name, "panic", r, "stack", string(debug.Stack()))
				done <- fmt.Errorf("%w: %v", errPanic, r)
			}
		}()
		if before != nil {
			<-before
		}
		done <- work()
	}()
	return request{name: name, id: id, start: time.Now(), done: done}
}

// await waits for the end of a request's work, and observes it.
func (p *plugin) await(ctx context.Context, r request) error {
	timer := time.NewTimer(p.deadline)
	defer timer.Stop()
	var err error
	select {
	case err = <-r.done:
	case <-timer.C:
		err = errDeadline
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.observer.Request(r.name, time.Since(r.start))
	if err != nil {
		p.observer.Error("nri-" + r.name)
		p.log.Error("request failed, the container goes on without", "request", r.name, "container", r.id, "error", err)
	}
	return err
}
