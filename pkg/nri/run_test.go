package nri

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"

	"github.com/truesize/truesize/pkg/lifecycle"
)

// startRuntime starts the runtime's side of NRI at socket.
func startRuntime(t *testing.T, socket string) *adaptation.Adaptation {
	t.Helper()
	return startUpdatable(t, socket, new(fakeRuntime))
}

// startUpdatable starts one whose containers are those of a fake. It goes by
// containerd's name: what the plugin subscribes to depends on it.
func startUpdatable(t *testing.T, socket string, fake *fakeRuntime) *adaptation.Adaptation {
	t.Helper()
	synchronize := func(ctx context.Context, tell adaptation.SyncCB) error {
		_, err := tell(ctx, []*api.PodSandbox{{Id: "p", Name: "web"}}, []*api.Container{{Id: "old", PodSandboxId: "p"}})
		return err
	}
	update := func(_ context.Context, list []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
		return fake.UpdateContainers(list)
	}
	dir := t.TempDir()
	r, err := adaptation.New("containerd", "v2.4.2", synchronize, update,
		adaptation.WithSocketPath(socket), adaptation.WithPluginPath(dir), adaptation.WithPluginConfigPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// create asks for a container until that many plugins were asked: the runtime
// lists a plugin only after it has answered the synchronization.
func create(t *testing.T, r *adaptation.Adaptation, plugins int) []*api.KeyValue {
	t.Helper()
	for range 3000 {
		resp, err := r.CreateContainer(t.Context(), &api.CreateContainerRequest{
			Pod: &api.PodSandbox{Id: "p"}, Container: &api.Container{Id: "new", PodSandboxId: "p"},
		})
		if err != nil {
			t.Fatalf("create: %v", err)
		}
		env := resp.GetAdjust().GetEnv()
		if len(env) > 0 && strings.Count(env[0].GetValue(), ":") == plugins-1 {
			return env
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d plugins were never asked", plugins)
	return nil
}

// newClient returns a client of the runtime at socket.
func newClient(socket string) (*fakeManager, *fakeObserver, *Client) {
	m, o := newFakeManager(), newFakeObserver()
	c := New(Config{
		Socket: socket, PluginName: "truesize", PluginIndex: "90",
		Manager: m, Observer: o, Sandboxes: &fakeSandboxes{}, Log: slog.New(slog.DiscardHandler),
	})
	c.firstWait, c.lastWait = time.Millisecond, 20*time.Millisecond
	return m, o, c
}

// runs runs a client until the test ends, and checks how it ends.
func runs(t *testing.T, c *Client) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Run did not return")
		}
	})
}

func TestRunOutlivesRuntimes(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	m, o, c := newClient(socket)
	runs(t, c) // no runtime yet
	o.await(t, false)
	for range 2 {
		behind := filepath.Join(t.TempDir(), "nri.sock")
		r := startRuntime(t, behind)
		sever := forward(t, socket, behind)
		o.await(t, true)
		if calls := m.took(); len(calls) != 1 || calls[0] != "synchronize web/old" {
			t.Errorf("on registration did %v", calls)
		}
		if env := create(t, r, 1); len(env) != 1 || env[0].GetKey() != "NUM_CPUS" {
			t.Errorf("creation answered %v", env)
		}
		if calls := m.took(); len(calls) != 1 || calls[0] != "create new" {
			t.Errorf("on creation did %v", calls)
		}
		sever()
		o.await(t, false)
		r.Stop()
	}
}

// A registered client changes CPU sets, and goes on when one is refused.
func TestRunBalances(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	fake := &fakeRuntime{refused: "a", done: make(chan struct{}, 1024)}
	r := startUpdatable(t, socket, fake)
	defer r.Stop()
	m, _, c := newClient(socket)
	m.sets = []lifecycle.CPUSet{{ID: "a", CPUs: "0"}, {ID: "b", CPUs: "1"}}
	runs(t, c)
	await(t, fake.done)
	await(t, fake.done)
	fake.mu.Lock()
	defer fake.mu.Unlock()
	if want := []string{"a 0", "b 1"}; !slices.Equal(fake.updates[:2], want) {
		t.Errorf("updates %v, want %v", fake.updates, want)
	}
}

// A variable that an earlier plugin has set is taken over, not fought for: the
// conflict would fail the container.
func TestRunReplacesWhatAnotherPluginSet(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	r := startRuntime(t, socket)
	defer r.Stop()
	for _, index := range []string{"05", "90"} {
		m, o, c := newClient(socket)
		c.cfg.PluginIndex = index
		m.create = preloading(index)
		runs(t, c)
		o.await(t, true)
	}
	if env := create(t, r, 2); len(env) != 1 || env[0].GetValue() != "05:90" {
		t.Errorf("env %v, want LD_PRELOAD=05:90", env)
	}
}

// A runtime that takes the connection and says nothing is given up.
func TestRunGivesUpOnSilence(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, o, c := newClient(socket)
	c.registration = 50 * time.Millisecond
	runs(t, c)
	o.await(t, false)
	o.await(t, false)
}

// A runtime may die between the registration and what it must send then.
func TestRunGivesUpOnHalfRegistration(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	serveRegistrationOnly(t, socket)
	_, o, c := newClient(socket)
	c.registration = 200 * time.Millisecond
	runs(t, c)
	o.await(t, false)
	o.await(t, false)
}

// containerd synchronizes a plugin once no container is being stopped, however
// long that takes, and creates none before.
func TestRunAwaitsSynchronization(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	behind := filepath.Join(t.TempDir(), "nri.sock")
	r := startRuntime(t, behind)
	defer r.Stop()
	sever := forward(t, socket, behind)
	stopping := r.BlockPluginSync()
	m, o, c := newClient(socket)
	c.registration = 2 * time.Second
	runs(t, c)
	time.Sleep(c.registration + time.Second/2) // for one that gives up
	stopping.Unblock()
	if ok := <-o.connected; !ok {
		t.Error("gave up")
	}
	if calls := m.took(); !slices.Equal(calls, []string{"synchronize web/old"}) {
		t.Errorf("did %v", calls)
	}
	sever()
	o.await(t, false)
}

// A runtime that dies before it has synchronized is noticed.
func TestRunOutlivesUnsynchronized(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	behind := filepath.Join(t.TempDir(), "nri.sock")
	r := startRuntime(t, behind)
	defer r.Stop()
	stopping := r.BlockPluginSync()
	defer stopping.Unblock()
	configured := make(chan struct{}, 1)
	sever := forward(t, socket, behind)
	_, o, c := newClient(socket)
	c.cfg.Log = slog.New(notice{slog.DiscardHandler, "configured by the runtime", configured})
	runs(t, c)
	<-configured
	sever()
	o.await(t, false)
}

// A notice tells of a log's message.
type notice struct {
	slog.Handler
	message string
	seen    chan<- struct{}
}

func (n notice) Enabled(context.Context, slog.Level) bool { return true }

func (n notice) Handle(_ context.Context, r slog.Record) error {
	if r.Message == n.message {
		n.seen <- struct{}{}
	}
	return nil
}
