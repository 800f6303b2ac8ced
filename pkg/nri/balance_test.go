package nri

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"

	"github.com/truesize/truesize/pkg/lifecycle"
)

// fakeRuntime takes updates, except those of containers that it refuses.
type fakeRuntime struct {
	refused string
	mu      sync.Mutex
	updates []string
	done    chan struct{} // gets one for each update
}

func (r *fakeRuntime) UpdateContainers(list []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range list {
		r.updates = append(r.updates, u.GetContainerId()+" "+u.GetLinux().GetResources().GetCpu().GetCpus())
		r.done <- struct{}{}
		if u.GetContainerId() == r.refused {
			return nil, errTest
		}
	}
	return nil, nil
}

func TestBalance(t *testing.T) {
	m, o := newFakeManager(), newFakeObserver()
	r := &fakeRuntime{refused: "b", done: make(chan struct{}, 16)}
	c := New(Config{Manager: m, Observer: o, Log: slog.New(slog.DiscardHandler)})
	c.lastWait = time.Millisecond // until a failure is tried again

	m.sets = []lifecycle.CPUSet{{ID: "a", CPUs: "0"}, {ID: "b", CPUs: "1-2"}}
	if c.rebalance(r) {
		t.Error("a refused update is no failure")
	}
	if want := []string{"a 0", "b 1-2"}; !slices.Equal(r.updates, want) {
		t.Errorf("updates %v, want %v", r.updates, want)
	}
	if got, want := m.took(), []string{"applied a 0"}; !slices.Equal(got, want) {
		t.Errorf("did %v, want %v", got, want)
	}
	if o.errors["cpuset"] != 1 {
		t.Errorf("errors %v", o.errors)
	}

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.balance(ctx, r); close(ended) }()
	for range 6 { // the two above, and again at each try
		await(t, r.done)
	}
	cancel()
	await(t, ended)
}

// A rebalance happens at once when the connection begins, and then when the
// manager asks.
func TestBalanceWhenAsked(t *testing.T) {
	m, r := newFakeManager(), &fakeRuntime{done: make(chan struct{}, 16)}
	c := New(Config{Manager: m, Observer: newFakeObserver(), Log: slog.New(slog.DiscardHandler)})
	m.sets = []lifecycle.CPUSet{{ID: "a", CPUs: "0"}}
	go c.balance(t.Context(), r)
	await(t, r.done)
	for range 3 {
		m.unbalanced <- struct{}{}
		await(t, r.done)
	}
}

func await(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing happened")
	}
}
