package lifecycle

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

func TestCreate(t *testing.T) {
	b := newBench(t)
	adj, err := b.Create(t.Context(), testSpec(idA))
	if err != nil {
		t.Fatal(err)
	}
	if len(adj.Views) != len(inject.Files()) || adj.Shim == "" || len(adj.Env) != 2 {
		t.Errorf("adjustment %+v", adj)
	}
	if !slices.Equal(b.view.checked, adj.Views) || !b.view.known {
		t.Errorf("the view was asked for %v, the entry was there: %v", b.view.checked, b.view.known)
	}
	c := b.get(t, idA)
	if c.Name != "main" || c.Pod != "web-0" || c.Namespace != "shop" || c.PodUID != "uid" || c.SandboxID != "sandbox" ||
		c.Via != "nri" || c.BootID != bootID || c.CreatedAt.IsZero() || c.PID != 0 {
		t.Errorf("entry %+v", c)
	}
	if want := (size.Size{CPUs: 2, Memory: gib}); c.Decision.Size != want {
		t.Errorf("size %+v, want %+v", c.Decision.Size, want)
	}
	if !slices.Equal(c.Mounts, adj.Views) || c.Shim != adj.Shim || !slices.Equal(c.Env, []string{"LD_PRELOAD", "NUM_CPUS"}) || c.Notes != nil || c.Skipped != "" {
		t.Errorf("entry says %v, %q, %v, %v, %q", c.Mounts, c.Shim, c.Env, c.Notes, c.Skipped)
	}
	b.wantErrors(t, map[string]int{})
}

// The pod's cgroup may be smaller than the container asks to be.
func TestCreateTakesTheSmallestLimits(t *testing.T) {
	for _, tt := range []struct {
		name        string
		spec, above size.Limits
		want        size.Size
	}{
		{"none", size.Limits{}, size.Limits{}, size.Size{CPUs: 8, Memory: 16 * gib}},
		{"the spec's", size.Limits{CPUMilli: 1500, Memory: gib}, size.Limits{}, size.Size{CPUs: 2, Memory: gib}},
		{"the pod's", size.Limits{}, size.Limits{CPUMilli: 3000, Memory: 2 * gib}, size.Size{CPUs: 3, Memory: 2 * gib}},
		{"the pod's is smaller", size.Limits{CPUMilli: 4000, Memory: 4 * gib}, size.Limits{CPUMilli: 500, Memory: 2 * gib}, size.Size{CPUs: 1, Memory: 2 * gib}},
		{"one of each", size.Limits{CPUMilli: 2000, Memory: 4 * gib}, size.Limits{CPUMilli: 3000, Memory: gib}, size.Size{CPUs: 2, Memory: gib}},
		{"cpuset", size.Limits{CPUSet: 6}, size.Limits{CPUSet: 3}, size.Size{CPUs: 3, Memory: 16 * gib}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.kernel.limits = tt.above
			s := testSpec(idA)
			s.Limits = tt.spec
			if _, err := b.Create(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if got := b.get(t, idA).Decision.Size; got != tt.want {
				t.Errorf("size %+v, want %+v", got, tt.want)
			}
			if asked := b.kernel.asked; len(asked) != 1 || asked[0][""] != path.Dir(s.CgroupsPath) {
				t.Errorf("asked for the limits of %v", asked)
			}
		})
	}
}

func TestSmallerSwap(t *testing.T) {
	none, small, large := size.Limits{}, size.Limits{HasSwap: true, Swap: 1}, size.Limits{HasSwap: true, Swap: 2, SwapAccounting: true}
	for _, tt := range []struct{ a, b, want size.Limits }{
		{none, none, none},
		{small, none, small},
		{none, large, large},
		{large, small, size.Limits{HasSwap: true, Swap: 1, SwapAccounting: true}},
		{size.Limits{HasSwap: true}, large, size.Limits{HasSwap: true, SwapAccounting: true}},
	} {
		if got := smaller(tt.a, tt.b); got != tt.want {
			t.Errorf("%+v and %+v: %+v, want %+v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestCreateInputs(t *testing.T) {
	b := newBench(t, func(c *Config) { c.FromRequests = true })
	s := testSpec(idA)
	s.Annotations = map[string]string{
		"truesize.dev/cpus": "lots", "cpus.truesize.dev/main": "3", "cpus.truesize.dev/other": "4",
		"truesize.dev/memory": strings.Repeat("x", 1<<20), "secret": "s", "truesize.dev/inject": "maybe",
	}
	s.Env = []string{"NUM_CPUS=" + strings.Repeat("9", 1<<20)}
	s.CPUShares = 2048
	if _, err := b.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	in := b.get(t, idA).Input
	for _, key := range []string{"secret", "cpus.truesize.dev/other"} {
		if _, kept := in.Annotations[key]; kept {
			t.Errorf("annotation %s was kept", key)
		}
	}
	if in.Annotations["cpus.truesize.dev/main"] != "3" || len(in.Annotations) != 4 {
		t.Errorf("kept %v", in.Annotations)
	}
	if n := len(in.Annotations["truesize.dev/memory"]); n != maxValue {
		t.Errorf("kept %d bytes of an annotation", n)
	}
	if in.NumCPUs == nil || len(*in.NumCPUs) != maxValue {
		t.Errorf("NUM_CPUS kept as %v", in.NumCPUs)
	}
	if in.CPUShares != 2048 || !in.FromRequests {
		t.Errorf("input %+v", in)
	}
	if b.observer.warnings < 2 { // inject and memory, at least
		t.Errorf("%d warnings were counted", b.observer.warnings)
	}
}

func TestCreateRefusesWhatIsNoID(t *testing.T) {
	for _, id := range []string{"", "..", "../x", "a/b", ".a", strings.Repeat("a", 200)} {
		b := newBench(t)
		if _, err := b.Create(t.Context(), testSpec(id)); !errors.Is(err, registry.ErrBadID) {
			t.Errorf("%q: %v", id, err)
		}
		if err := b.Refresh(testSpec(id)); !errors.Is(err, registry.ErrBadID) {
			t.Errorf("refresh %q: %v", id, err)
		}
		if entries, _ := os.ReadDir(b.dir.Path()); len(entries) != 0 {
			t.Errorf("%q left %v in the registry", id, entries)
		}
		b.wantErrors(t, map[string]int{"validate": 2})
	}
}

func TestCreateLeftAlone(t *testing.T) {
	b := newBench(t)
	s := testSpec(idA)
	s.Namespace = "kube-system"
	adj, err := b.Create(t.Context(), s)
	if err != nil || len(adj.Mounts)+len(adj.Env) != 0 {
		t.Errorf("adjustment %+v, %v", adj, err)
	}
	if c := b.get(t, idA); c.Skipped != "namespace" || c.Mounts != nil || c.Shim != "" {
		t.Errorf("entry %+v", c)
	}
	if b.view.checked != nil {
		t.Error("the view was asked for nothing")
	}
}

func TestCreateWithoutTheView(t *testing.T) {
	b := newBench(t)
	b.view.err = errTest
	adj, err := b.Create(t.Context(), testSpec(idA))
	if err != nil || len(adj.Views) != 0 || len(adj.Mounts) != 2 || adj.Shim == "" || len(adj.Env) != 2 {
		t.Errorf("adjustment %+v, %v: want the shim, its page and the variables", adj, err)
	}
	c := b.get(t, idA)
	if len(c.Mounts) != 0 || c.Shim == "" || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "did not answer") {
		t.Errorf("entry says %v, %q, %v", c.Mounts, c.Shim, c.Notes)
	}
	b.wantErrors(t, map[string]int{"view": 1})
}

func TestCreateWithoutTheRegistry(t *testing.T) {
	b := newBench(t)
	// A file where the entry's directory should be.
	if err := os.WriteFile(filepath.Join(b.dir.Path(), idA), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	adj, err := b.Create(t.Context(), testSpec(idA))
	if err != nil || len(adj.Views) != 0 || adj.Shim == "" || len(adj.Mounts) != 1 {
		t.Errorf("adjustment %+v, %v: the view cannot know the container", adj, err)
	}
	if b.observer.errors["register"] == 0 {
		t.Error("the failure was not counted")
	}
}

func TestCreateWithoutTheShim(t *testing.T) {
	for _, present := range []func() bool{nil, func() bool { return false }} {
		b := newBench(t, func(c *Config) { c.ShimPresent = present })
		adj, err := b.Create(t.Context(), testSpec(idA))
		if err != nil || adj.Shim != "" || len(adj.Views) == 0 {
			t.Errorf("adjustment %+v, %v", adj, err)
		}
	}
}

func TestCreateWithoutTheKernel(t *testing.T) {
	t.Run("limits", func(t *testing.T) {
		b := newBench(t)
		b.kernel.limitsErr = errTest
		adj, err := b.Create(t.Context(), testSpec(idA))
		if err != nil || len(adj.Views) == 0 || b.get(t, idA).Decision.Size.CPUs != 2 {
			t.Errorf("adjustment %+v, %v: the spec's limits are enough", adj, err)
		}
		b.wantErrors(t, map[string]int{"cgroup": 1})
	})
	t.Run("cgroups path", func(t *testing.T) {
		b := newBench(t)
		s := testSpec(idA)
		s.CgroupsPath = "bad"
		if adj, err := b.Create(t.Context(), s); err != nil || len(adj.Views) == 0 {
			t.Errorf("adjustment %+v, %v", adj, err)
		}
		b.wantErrors(t, map[string]int{"cgroup": 1})
	})
	t.Run("host", func(t *testing.T) {
		b := newBench(t)
		b.kernel.host, b.kernel.hostErr = size.Host{}, errTest
		s := testSpec(idA)
		s.Limits = size.Limits{}
		adj, err := b.Create(t.Context(), s)
		if err != nil || adj.Skip != inject.SkipFailed || len(adj.Mounts)+len(adj.Env) != 0 {
			t.Errorf("adjustment %+v, %v: a container without a size is left alone", adj, err)
		}
		if c := b.get(t, idA); c.Skipped != string(inject.SkipFailed) {
			t.Errorf("entry %+v", c)
		}
	})
}

func TestCreateInTimeOnly(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Create(ctx, testSpec(idA)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := b.dir.Get(idA); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("registered all the same: %v", err)
	}
}

// While the view is asked for one container, the others go on.
func TestCreateBesideOthers(t *testing.T) {
	b := newBench(t)
	if err := b.Refresh(testSpec(idB)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	b.view.during = func(string) {
		go func() { done <- b.Remove(idB) }()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("another container waits for the view's answer")
		}
	}
	if _, err := b.Create(t.Context(), testSpec(idA)); err != nil {
		t.Error(err)
	}
}

// A creation does not wait for work at other containers, whatever that waits for.
func TestCreateWhileOthersAreRead(t *testing.T) {
	b := newBench(t)
	reading, created := make(chan struct{}), make(chan struct{})
	b.kernel.reading = func() {
		close(reading)
		<-created
	}
	refreshed := make(chan error)
	go func() {
		s := testSpec(idB)
		s.PID = 42
		refreshed <- b.Refresh(s)
	}()
	<-reading
	done := make(chan error)
	go func() {
		_, err := b.Create(context.Background(), testSpec(idA))
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("a creation waits for work at another container")
	}
	close(created)
	if err := <-refreshed; err != nil {
		t.Error(err)
	}
}

// Of one container, one call at a time has the entry.
func TestHolds(t *testing.T) {
	var h holds
	release := h.take(idA)
	taken := make(chan func())
	go func() { taken <- h.take(idA) }()
	select {
	case <-taken:
		t.Error("two have it")
	case <-time.After(20 * time.Millisecond):
	}
	h.take(idB)()
	release()
	(<-taken)()
	if len(h.byID) != 0 {
		t.Errorf("kept: %v", h.byID)
	}
}

// A container of which the runtime has had its answer by the time the view
// gives its, and that is removed meanwhile, stays away.
func TestCreateTooLate(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.view.err = errTest
	removed := make(chan error)
	b.view.during = func(id string) {
		cancel()
		go func() { removed <- b.Remove(id) }()
		select {
		case err := <-removed:
			t.Errorf("removed while it is being created: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if _, err := b.Create(ctx, testSpec(idA)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := <-removed; err != nil {
		t.Error(err)
	}
	if ids, _ := b.dir.IDs(); len(ids) != 0 {
		t.Errorf("registered again: %v", ids)
	}
}

func TestAbandon(t *testing.T) {
	b := newBench(t)
	if _, err := b.Create(t.Context(), testSpec(idA)); err != nil {
		t.Fatal(err)
	}
	b.Abandon(idA)
	b.Abandon(idB) // unknown
	b.Abandon("../x")
	if c := b.get(t, idA); c.Skipped != string(inject.SkipFailed) || c.Mounts != nil || c.Shim != "" || c.Env != nil {
		t.Errorf("entry %+v", c)
	}
	if ids, _ := b.dir.IDs(); len(ids) != 1 {
		t.Errorf("ids %v", ids)
	}
}

func TestRemove(t *testing.T) {
	b := newBench(t)
	if _, err := b.Create(t.Context(), testSpec(idA)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // stopped, then removed
		if err := b.Remove(idA); err != nil {
			t.Error(err)
		}
	}
	if ids, _ := b.dir.IDs(); len(ids) != 0 {
		t.Errorf("ids %v", ids)
	}
	if err := b.Remove("../x"); !errors.Is(err, registry.ErrBadID) {
		t.Errorf("remove ../x: %v", err)
	}
}
