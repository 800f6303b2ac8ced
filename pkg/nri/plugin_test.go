package nri

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/nri/pkg/api"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/lifecycle"
)

func TestCreateContainer(t *testing.T) {
	p, _, o := testPlugin()
	adj, updates, err := p.CreateContainer(t.Context(), &api.PodSandbox{}, &api.Container{Id: "a"})
	if err != nil || updates != nil || len(adj.GetEnv()) != 1 {
		t.Errorf("adjustment %v, updates %v, error %v", adj, updates, err)
	}
	if injected, failed := o.counts(); injected != 1 || failed != 0 {
		t.Errorf("%d injected, %d failed", injected, failed)
	}
}

// A creation must never fail because of the plugin: every trouble ends in no
// adjustment and is counted.
func TestCreateContainerNeverFails(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	for _, tt := range []struct {
		name      string
		create    func(context.Context, lifecycle.Spec) (inject.Adjustment, error)
		abandoned bool // at once
	}{
		{"error", func(context.Context, lifecycle.Spec) (inject.Adjustment, error) {
			return inject.Adjustment{}, errTest
		}, true},
		{"panic", func(context.Context, lifecycle.Spec) (inject.Adjustment, error) { panic("test") }, false},
		{"hang", func(context.Context, lifecycle.Spec) (inject.Adjustment, error) {
			<-release
			return inject.Adjustment{}, nil
		}, false},
		{"slow", func(ctx context.Context, _ lifecycle.Spec) (inject.Adjustment, error) {
			<-ctx.Done()
			return inject.Adjustment{}, ctx.Err()
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, m, o := testPlugin()
			p.deadline = 20 * time.Millisecond
			m.create = tt.create
			adj, updates, err := p.CreateContainer(t.Context(), &api.PodSandbox{}, &api.Container{Id: "a"})
			if adj != nil || updates != nil || err != nil {
				t.Errorf("adjustment %v, updates %v, error %v: want none", adj, updates, err)
			}
			injected, failed := o.counts()
			if injected != 0 || failed != 1 || o.errors["nri-CreateContainer"] != 1 || o.requests["CreateContainer"] != 1 {
				t.Errorf("%d injected, %d failed, errors %v, requests %v", injected, failed, o.errors, o.requests)
			}
			if tt.abandoned {
				if id := <-m.abandoned; id != "a" {
					t.Errorf("abandoned %q", id)
				}
			}
		})
	}
}

// A plan that comes after the runtime was answered was not applied: the
// registry must not say so.
func TestCreateContainerTooLateIsAbandoned(t *testing.T) {
	p, m, _ := testPlugin()
	p.deadline = 10 * time.Millisecond
	release := make(chan struct{})
	m.create = func(context.Context, lifecycle.Spec) (inject.Adjustment, error) {
		<-release
		return inject.Adjustment{Env: []inject.EnvVar{{Name: "A"}}}, nil
	}
	if adj, _, _ := p.CreateContainer(t.Context(), &api.PodSandbox{}, &api.Container{Id: "late"}); adj != nil {
		t.Fatalf("adjustment %v", adj)
	}
	close(release)
	select {
	case id := <-m.abandoned:
		if id != "late" {
			t.Errorf("abandoned %q", id)
		}
	case <-time.After(30 * time.Second):
		t.Error("not abandoned")
	}
}

// A plan that comes just when the wait for it ends is either answered whole or
// abandoned.
func TestCreateContainerInTheLastMoment(t *testing.T) {
	for range 500 {
		synctest.Test(t, func(t *testing.T) {
			p, m, _ := testPlugin()
			p.deadline = time.Second
			m.create = func(context.Context, lifecycle.Spec) (inject.Adjustment, error) {
				time.Sleep(p.deadline)
				return inject.Adjustment{Env: []inject.EnvVar{{Name: "A"}}}, nil
			}
			adj, _, _ := p.CreateContainer(t.Context(), &api.PodSandbox{}, &api.Container{Id: "a"})
			synctest.Wait()
			if abandoned := len(m.abandoned) > 0; abandoned != (adj == nil) {
				t.Errorf("adjustment %v, abandoned: %v", adj, abandoned)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	p, m, _ := testPlugin()
	pod, ctx := &api.PodSandbox{Id: "p", Name: "web"}, t.Context()
	running := &api.Container{Id: "a", PodSandboxId: "p", Pid: 7}
	for _, tt := range []struct {
		name string
		send func() error
		want string
	}{
		{"PostUpdateContainer", func() error { return p.PostUpdateContainer(ctx, pod, running) }, "refresh a"},
		{"StopContainer", func() error { _, err := p.StopContainer(ctx, pod, running); return err }, "remove a"},
		{"RemoveContainer", func() error { return p.RemoveContainer(ctx, nil, running) }, "remove a"},
		{"Synchronize", func() error {
			_, err := p.Synchronize(ctx, []*api.PodSandbox{pod}, []*api.Container{running, {Id: "b", PodSandboxId: "unknown"}})
			return err
		}, "synchronize web/a /b"},
	} {
		if err := tt.send(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := strings.Join(m.took(), ", "); got != tt.want {
			t.Errorf("%s: did %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Whoever starts a container with containerd does not wait for the agent.
func TestConfigure(t *testing.T) {
	p, _, _ := testPlugin()
	for runtime, subscribed := range map[string]bool{"containerd": false, "cri-o": true} {
		events, err := p.Configure(t.Context(), "", runtime, "v2.1.0")
		if err != nil {
			t.Fatal(err)
		}
		if events == 0 { // all that are handled
			events.Set(api.Event_POST_START_CONTAINER, api.Event_CREATE_CONTAINER)
		}
		if events.IsSet(api.Event_POST_START_CONTAINER) != subscribed || !events.IsSet(api.Event_CREATE_CONTAINER) {
			t.Errorf("%s: %s", runtime, events.PrettyString())
		}
	}
}

// The runtime does not wait for what a start brings; what follows it does.
func TestStartIsNotWaitedFor(t *testing.T) {
	p, m, _ := testPlugin()
	pod, ctx := &api.PodSandbox{Id: "p"}, t.Context()
	release := make(chan struct{})
	m.refresh = func() { <-release }
	if err := p.PostStartContainer(ctx, pod, &api.Container{Id: "a", Pid: 7}); err != nil {
		t.Fatal(err)
	}
	if err := p.RemoveContainer(ctx, pod, &api.Container{Id: "b"}); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_, _ = p.StopContainer(ctx, pod, &api.Container{Id: "a"})
	}()
	time.Sleep(20 * time.Millisecond) // for one that does not wait its turn
	if got := m.took(); !slices.Equal(got, []string{"remove b"}) {
		t.Errorf("before the start's work was done: %q", got)
	}
	close(release)
	<-stopped
	if got := m.took(); !slices.Equal(got, []string{"refresh a", "remove a"}) {
		t.Errorf("after it: %q", got)
	}
	before, leave := p.turns.take("a")
	if leave(); before != nil {
		<-before // or hangs: the turn was never given back
	}
}

func TestSynchronizeIsReady(t *testing.T) {
	p, m, _ := testPlugin()
	var order []string
	p.ready = func() { order = append(m.took(), "ready") }
	if _, err := p.Synchronize(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"synchronize", "ready"}; !slices.Equal(order, want) {
		t.Errorf("did %v, want %v", order, want)
	}
}
