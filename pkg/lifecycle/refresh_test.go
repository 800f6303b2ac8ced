package lifecycle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

// started returns a bench with a container of 1.5 CPUs and 1 GiB that runs.
func started(t *testing.T, edits ...func(*Config)) *bench {
	t.Helper()
	b := newBench(t, edits...)
	s := testSpec(idA)
	b.kernel.limits = s.Limits
	if _, err := b.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	s.PID = 42
	if err := b.Refresh(s); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRefreshNotesTheProcess(t *testing.T) {
	c := started(t).get(t, idA)
	if c.PID != 42 || c.StartTicks != 4200 || c.Cgroup[""] != "/real" {
		t.Errorf("pid %d, start %d, cgroup %v", c.PID, c.StartTicks, c.Cgroup)
	}
	if len(c.Mounts) == 0 || c.Shim == "" || c.Skipped != "" {
		t.Errorf("what was injected got lost: %+v", c)
	}
}

func TestRefreshFollowsAResize(t *testing.T) {
	b := started(t)
	b.kernel.limits = size.Limits{CPUMilli: 4000, Memory: 2 * gib}
	s := testSpec(idA)
	s.PID, s.CPUShares = 42, 4096
	// The environment holds what was injected: no input.
	s.Env = append(s.Env, "NUM_CPUS=2")
	if err := b.Refresh(s); err != nil {
		t.Fatal(err)
	}
	c := b.get(t, idA)
	if want := (size.Size{CPUs: 4, Memory: 2 * gib}); c.Decision.Size != want {
		t.Errorf("size %+v, want %+v", c.Decision.Size, want)
	}
	if c.Input.NumCPUs != nil || c.Input.CPUShares != 4096 {
		t.Errorf("input %+v", c.Input)
	}
}

func TestRefreshOfAProcessThatEnded(t *testing.T) {
	b := newBench(t)
	s := testSpec(idA)
	if _, err := b.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.kernel.limits = size.Limits{CPUMilli: 4000} // of the cgroups above its own, which has gone
	s.PID = 666
	if err := b.Refresh(s); err != nil {
		t.Fatal(err)
	}
	if c := b.get(t, idA); c.PID != 0 || c.Decision.Size.CPUs != 2 || c.Cgroup[""] != s.CgroupsPath {
		t.Errorf("pid %d, size %+v, cgroup %v", c.PID, c.Decision.Size, c.Cgroup)
	}
	b.wantErrors(t, map[string]int{}) // a short life is no error
}

func TestRefreshAdopts(t *testing.T) {
	injected := testSpec(idA)
	injected.PID = 42
	injected.Env = []string{"NUM_CPUS=2"}
	injected.Mounts = append(injected.Mounts,
		inject.Mount{Source: "/run/truesize/view/" + idA + "/proc/stat", Destination: "/proc/stat"},
		inject.Mount{Source: "/run/truesize/view/" + idB + "/proc/meminfo", Destination: "/proc/meminfo"}, // another's
		inject.Mount{Source: "/old.so", Destination: "/dev/truesize/000000000000/libtruesize.so"})
	foreign := testSpec(idA)
	foreign.PID = 42
	privileged := foreign
	privileged.Privileged = true
	for _, tt := range []struct {
		name    string
		s       Spec
		skipped string
		mounts  []string
	}{
		{"created before the agent", foreign, "created-earlier", nil},
		{"never to be injected", privileged, "privileged", nil},
		{"injected by a registry that was lost", injected, "", []string{"/proc/stat"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.kernel.limits = size.Limits{CPUMilli: 3000, Memory: gib}
			if err := b.Refresh(tt.s); err != nil {
				t.Fatal(err)
			}
			c := b.get(t, idA)
			if c.Skipped != tt.skipped || !slices.Equal(c.Mounts, tt.mounts) || (c.Shim != "") != (tt.mounts != nil) {
				t.Errorf("skipped %q, mounts %v, shim %q", c.Skipped, c.Mounts, c.Shim)
			}
			if c.Decision.Size.CPUs != 3 || c.PID != 42 {
				t.Errorf("size %+v, pid %d", c.Decision.Size, c.PID)
			}
		})
	}
}

func TestRefreshReplacesACorruptEntry(t *testing.T) {
	b := started(t)
	path := filepath.Join(b.dir.Path(), idA, "container.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := testSpec(idA)
	s.PID = 42
	if err := b.Refresh(s); err != nil {
		t.Fatal(err)
	}
	if c := b.get(t, idA); c.PID != 42 {
		t.Errorf("entry %+v", c)
	}
	b.wantErrors(t, map[string]int{"registry": 1})
}

func TestSynchronize(t *testing.T) {
	b := started(t)
	put := func(id, via string) {
		t.Helper()
		c := *b.get(t, idA)
		c.ID, c.Via = id, via
		if err := b.dir.Put(&c); err != nil {
			t.Fatal(err)
		}
	}
	put("gone", "nri")
	put("others", "runc")
	if err := os.Mkdir(filepath.Join(b.dir.Path(), "corrupt"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir.Path(), "corrupt", "container.json"), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	// What an agent that was killed has left.
	if err := os.Mkdir(filepath.Join(b.dir.Path(), "unfinished"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir.Path(), "unfinished", ".container.json.1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	running := testSpec(idA)
	running.PID = 42
	if err := b.Synchronize([]Spec{running, testSpec(idB), testSpec("../bad")}); !errors.Is(err, registry.ErrBadID) {
		t.Errorf("error %v, want that of the bad id", err)
	}
	ids, err := b.dir.IDs()
	if want := []string{idA, idB, "corrupt", "others"}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("ids %v, want %v", ids, want)
	}
	if c := b.get(t, idA); len(c.Mounts) == 0 || c.Skipped != "" {
		t.Errorf("what was injected got lost: %+v", c)
	}
}

// A runtime with many containers does not wait until all of them are looked at,
// and creates the next.
func TestSynchronizeLeavesWhatIsCreatedMeanwhile(t *testing.T) {
	b := started(t)
	b.kernel.reading = func() {
		b.kernel.reading = nil
		if _, err := b.Create(t.Context(), testSpec(idB)); err != nil {
			t.Error(err)
		}
	}
	running := testSpec(idA)
	running.PID = 43 // not the one that is known: it is read
	if err := b.Synchronize([]Spec{running}); err != nil {
		t.Fatal(err)
	}
	if c := b.get(t, idB); len(c.Mounts) == 0 {
		t.Errorf("its entry: %+v", c)
	}
}

// An agent that is killed after it has registered a container and before its
// answer leaves an entry that says what was never done.
func TestSynchronizeUnanswered(t *testing.T) {
	proc := inject.Mount{Source: "proc", Destination: "/proc", Type: "proc"}
	for _, tt := range []struct {
		name   string
		mounts func(adj inject.Adjustment, b *bench) []inject.Mount
		want   string // why it was left alone
	}{
		{"without the injection", func(inject.Adjustment, *bench) []inject.Mount { return []inject.Mount{proc} }, string(inject.SkipEarlier)},
		{"with it", func(adj inject.Adjustment, _ *bench) []inject.Mount { return append(adj.Mounts, proc) }, ""},
		{"mounts not told", func(inject.Adjustment, *bench) []inject.Mount { return nil }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			s := testSpec(idA)
			adj, err := b.Create(t.Context(), s)
			if err != nil || len(adj.Mounts) == 0 {
				t.Fatalf("%+v, %v", adj, err)
			}
			s.PID, s.Mounts = 42, tt.mounts(adj, b)
			if err := b.Synchronize([]Spec{s}); err != nil {
				t.Fatal(err)
			}
			c := b.get(t, idA)
			if c.Skipped != tt.want || (len(c.Mounts) == 0) != (tt.want != "") || c.PID != 42 {
				t.Errorf("its entry: %+v", c)
			}
			// Attached since: its mounts are not in its spec, and stay.
			c.Skipped, c.Mounts = "", []string{"/proc/meminfo"}
			if err := b.dir.Put(c); err != nil {
				t.Fatal(err)
			}
			if err := b.Synchronize([]Spec{s}); err != nil {
				t.Fatal(err)
			}
			if c := b.get(t, idA); c.Skipped != "" || len(c.Mounts) != 1 {
				t.Errorf("after it was attached: %+v", c)
			}
		})
	}
}

func TestReconcile(t *testing.T) {
	larger := size.Limits{CPUMilli: 4000, Memory: 2 * gib}
	for _, tt := range []struct {
		name   string
		change func(*bench)
		want   int // CPUs
		errors map[string]int
	}{
		{"nothing", func(*bench) {}, 2, nil},
		{"limits", func(b *bench) { b.kernel.limits = larger }, 4, nil},
		{"fewer CPUs online", func(b *bench) { b.kernel.host.CPUs = 1 }, 1, nil},
		{"process ended", func(b *bench) { b.kernel.limits = larger; delete(b.kernel.processes, 42) }, 2, nil},
		{"pid used again", func(b *bench) { b.kernel.limits = larger; b.kernel.processes[42]++ }, 2, nil},
		{"cgroup gone", func(b *bench) { b.kernel.limitsErr = cgroup.ErrGone }, 2, nil},
		{"cgroup malformed", func(b *bench) { b.kernel.limitsErr = errTest }, 2, map[string]int{"cgroup": 1}},
		{"host unknown", func(b *bench) { b.kernel.hostErr = errTest }, 2, map[string]int{"host": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := started(t)
			tt.change(b)
			b.Reconcile(t.Context())
			if got := b.get(t, idA).Decision.Size.CPUs; got != tt.want {
				t.Errorf("%d CPUs, want %d", got, tt.want)
			}
			b.wantErrors(t, tt.errors)
		})
	}
}

// What did not change is not written: the view would drop its pages.
func TestReconcileWritesChangesOnly(t *testing.T) {
	b := started(t)
	path := filepath.Join(b.dir.Path(), idA, "container.json")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b.Reconcile(t.Context())
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the entry was written: %v", err)
	}
	b.kernel.limits.Memory *= 2
	b.Reconcile(t.Context())
	if after, err = os.Stat(path); err != nil || os.SameFile(before, after) {
		t.Errorf("the change was not written: %v", err)
	}
}

func TestReconcileLeavesWhatIsNotItsOwn(t *testing.T) {
	b := started(t)
	if _, err := b.Create(t.Context(), testSpec(idB)); err != nil { // not started
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir.Path(), idA, "container.json"), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.kernel.limits = size.Limits{CPUMilli: 5000}
	b.Reconcile(t.Context())
	if c := b.get(t, idB); c.Decision.Size.CPUs != 2 {
		t.Errorf("a container without a process got the size above it: %+v", c.Decision.Size)
	}
	b.wantErrors(t, map[string]int{"registry": 1})

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Reconcile(ctx)
	b.wantErrors(t, map[string]int{"registry": 1}) // it looked at nothing
}
