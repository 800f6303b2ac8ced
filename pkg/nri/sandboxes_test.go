package nri

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
)

// fakeSandboxes records what it is told.
type fakeSandboxes struct {
	mu   sync.Mutex
	told []string
}

func (f *fakeSandboxes) tell(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, what)
}

func (f *fakeSandboxes) Known(ids []string) { f.tell("known " + strings.Join(ids, " ")) }
func (f *fakeSandboxes) Added(id string)    { f.tell("added " + id) }
func (f *fakeSandboxes) Removed(id string)  { f.tell("removed " + id) }
func (f *fakeSandboxes) Unknown()           { f.tell("unknown") }

// heard waits until what was told last is this.
func (f *fakeSandboxes) heard(t *testing.T, what string) []string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		told := slices.Clone(f.told)
		f.mu.Unlock()
		if len(told) > 0 && told[len(told)-1] == what {
			return told
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %q, was told %q", what, told)
		}
	}
}

// TestRunTellsOfSandboxes: all of them when a connection begins, each that
// comes and goes, and that nothing is known once the runtime is away.
func TestRunTellsOfSandboxes(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	behind := filepath.Join(t.TempDir(), "nri.sock")
	r := startRuntime(t, behind)
	defer r.Stop()
	sever := forward(t, socket, behind)
	_, o, c := newClient(socket)
	f := &fakeSandboxes{}
	c.cfg.Sandboxes = f
	runs(t, c)
	o.await(t, true)
	f.heard(t, "known p")
	create(t, r, 1) // from now on the runtime asks the plugin
	if err := r.RunPodSandbox(t.Context(), &adaptation.RunPodSandboxRequest{Pod: &api.PodSandbox{Id: "q"}}); err != nil {
		t.Fatal(err)
	}
	f.heard(t, "added q")
	if err := r.StopPodSandbox(t.Context(), &adaptation.StopPodSandboxRequest{Pod: &api.PodSandbox{Id: "q"}}); err != nil {
		t.Fatal(err)
	}
	if err := r.RemovePodSandbox(t.Context(), &adaptation.RemovePodSandboxRequest{Pod: &api.PodSandbox{Id: "q"}}); err != nil {
		t.Fatal(err)
	}
	f.heard(t, "removed q")
	sever()
	told := f.heard(t, "unknown")
	if i := slices.Index(told, "known p"); !slices.Equal(told[i:i+4], []string{"known p", "added q", "removed q", "unknown"}) {
		t.Errorf("was told %q", told)
	}
}
