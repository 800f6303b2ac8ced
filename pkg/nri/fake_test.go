package nri

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/lifecycle"
)

var errTest = errors.New("test")

// fakeManager records what it is told, and answers as create says.
type fakeManager struct {
	create  func(context.Context, lifecycle.Spec) (inject.Adjustment, error)
	refresh func() // nil: at once

	mu        sync.Mutex
	calls     []string
	abandoned chan string

	unbalanced chan struct{}
	sets       []lifecycle.CPUSet
}

func newFakeManager() *fakeManager {
	return &fakeManager{
		abandoned:  make(chan string, 16),
		unbalanced: make(chan struct{}, 1),
		create: func(context.Context, lifecycle.Spec) (inject.Adjustment, error) {
			return inject.Adjustment{Env: []inject.EnvVar{{Name: "NUM_CPUS", Value: "2"}}}, nil
		},
	}
}

func (m *fakeManager) note(call string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call)
}

// took returns and forgets the calls so far.
func (m *fakeManager) took() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = nil
	return calls
}

func (m *fakeManager) Create(ctx context.Context, s lifecycle.Spec) (inject.Adjustment, error) {
	m.note("create " + s.ID)
	return m.create(ctx, s)
}
func (m *fakeManager) Unbalanced() <-chan struct{} { return m.unbalanced }
func (m *fakeManager) Rebalance() []lifecycle.CPUSet {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sets
}
func (m *fakeManager) Applied(s lifecycle.CPUSet) { m.note("applied " + s.ID + " " + s.CPUs) }
func (m *fakeManager) Abandon(id string)          { m.abandoned <- id }
func (m *fakeManager) Refresh(s lifecycle.Spec) error {
	if m.refresh != nil {
		m.refresh()
	}
	m.note("refresh " + s.ID)
	return nil
}
func (m *fakeManager) Remove(id string) error {
	m.note("remove " + id)
	return errTest // an event's error must not reach the runtime
}
func (m *fakeManager) Synchronize(specs []lifecycle.Spec) error {
	call := "synchronize"
	for _, s := range specs {
		call += " " + s.Pod + "/" + s.ID
	}
	m.note(call)
	return nil
}

// fakeObserver counts.
type fakeObserver struct {
	connected chan bool

	mu       sync.Mutex
	failed   int
	injected int
	errors   map[string]int
	requests map[string]int
}

func newFakeObserver() *fakeObserver {
	return &fakeObserver{connected: make(chan bool, 64), errors: make(map[string]int), requests: make(map[string]int)}
}

func (o *fakeObserver) Request(name string, _ time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests[name]++
}
func (o *fakeObserver) Injection(_ inject.Adjustment, failed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if failed {
		o.failed++
	} else {
		o.injected++
	}
}
func (o *fakeObserver) Connected(ok bool) {
	select {
	case o.connected <- ok:
	default: // of a test that does not look
	}
}
func (o *fakeObserver) Error(op string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.errors[op]++
}

// counts returns the injections that were done and that failed.
func (o *fakeObserver) counts() (injected, failed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.injected, o.failed
}

// awaitConnected waits until the observer was told ok.
func (o *fakeObserver) await(t *testing.T, ok bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case got := <-o.connected:
			if got == ok {
				return
			}
		case <-deadline:
			t.Fatalf("never became connected: %v", ok)
		}
	}
}

func testPlugin() (*plugin, *fakeManager, *fakeObserver) {
	m, o := newFakeManager(), newFakeObserver()
	return &plugin{
		manager: m, observer: o, sandboxes: &fakeSandboxes{}, log: slog.New(slog.DiscardHandler),
		deadline: time.Minute, configured: func() {}, ready: func() {},
	}, m, o
}
