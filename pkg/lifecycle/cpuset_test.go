package lifecycle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/size"
)

// newCPUSetBench is a node of 4 CPUs on which containers get CPU sets.
func newCPUSetBench(t *testing.T, edits ...func(*Config)) *bench {
	t.Helper()
	b := newBench(t, append([]func(*Config){func(c *Config) { c.Inject.CPUSet = true }}, edits...)...)
	b.kernel.host.CPUs = 4
	b.kernel.cpus = []int{0, 1, 2, 3}
	return b
}

// oneCPU is the spec of a container of one CPU.
func oneCPU(n int) Spec {
	s := testSpec(fmt.Sprintf("container%d", n))
	s.Limits = size.Limits{CPUMilli: 1000, Memory: gib}
	return s
}

// run creates and starts a container, and returns the set it was given.
func (b *bench) run(t *testing.T, s Spec) string {
	t.Helper()
	adj, err := b.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	b.start(t, s, adj.CPUSet)
	return adj.CPUSet
}

// start starts a container that the runtime has given a set.
func (b *bench) start(t *testing.T, s Spec, cpus string) {
	t.Helper()
	s.PID, s.CPUs, b.kernel.limits = 42, cpus, s.Limits
	b.kernel.limits.CPUSet = 1 // the container's own
	if err := b.Refresh(s); err != nil {
		t.Fatal(err)
	}
}

// wantUnbalanced checks whether a rebalance was asked for, and takes it.
func (b *bench) wantUnbalanced(t *testing.T, want bool) {
	t.Helper()
	got := false
	select {
	case <-b.Unbalanced():
		got = true
	default:
	}
	if got != want {
		t.Errorf("asked for a rebalance: %v, want %v", got, want)
	}
}

func TestCPUSetsAreSpread(t *testing.T) {
	b := newCPUSetBench(t)
	for i, want := range []string{"0", "1", "2", "3", "0"} {
		if got := b.run(t, oneCPU(i)); got != want {
			t.Errorf("container %d got %q, want %q", i, got, want)
		}
		if c := b.get(t, oneCPU(i).ID); c.CPUSet != want || c.Input.Limits.CPUSet != 4 {
			t.Errorf("entry says %q, its limit is %d CPUs: want the node's", c.CPUSet, c.Input.Limits.CPUSet)
		}
	}
	b.wantUnbalanced(t, true)
	if got := b.Rebalance(); len(got) != 0 {
		t.Errorf("rebalance of a balanced node: %v", got)
	}
	for _, n := range []int{1, 2} {
		if err := b.Remove(oneCPU(n).ID); err != nil {
			t.Fatal(err)
		}
	}
	b.wantUnbalanced(t, true)
	got := b.Rebalance()
	if want := []CPUSet{{oneCPU(0).ID, "1"}}; !slices.Equal(got, want) {
		t.Fatalf("rebalance %v, want %v", got, want)
	}
	b.Applied(got[0])
	if got := b.Rebalance(); len(got) != 0 {
		t.Errorf("rebalanced twice: %v", got)
	}
	b.Applied(CPUSet{"gone", "1"})
	b.wantErrors(t, map[string]int{})
}

// A container keeps its set when its size is as it was, and gets another when
// it was resized: its own set does not hold it to the size it had.
func TestCPUSetFollowsAResize(t *testing.T) {
	b := newCPUSetBench(t)
	s := oneCPU(0)
	b.run(t, s)
	for _, tt := range []struct {
		milli int64
		want  string
	}{{2500, "0-2"}, {9000, "0-3"}, {1000, "0"}} {
		s.Limits.CPUMilli = tt.milli
		b.start(t, s, b.get(t, s.ID).CPUSet)
		b.wantUnbalanced(t, true)
		got := b.Rebalance()
		if want := []CPUSet{{s.ID, tt.want}}; !slices.Equal(got, want) {
			t.Fatalf("%d milli CPUs: %v, want %v", tt.milli, got, want)
		}
		b.Applied(got[0])
	}
}

// Whoever waits for an imbalance finds it, however soon he looks.
func TestRebalanceSeesWhatItIsToldOf(t *testing.T) {
	b := newCPUSetBench(t)
	s := oneCPU(0)
	b.run(t, s)
	b.wantUnbalanced(t, true)
	looked := make(chan []CPUSet)
	go func() {
		for range b.Unbalanced() {
			looked <- b.Rebalance()
		}
	}()
	for i := range 100 {
		s.Limits.CPUMilli = int64(2000 + 1000*(i%2))
		b.start(t, s, b.get(t, s.ID).CPUSet)
		select {
		case got := <-looked:
			if len(got) != 1 {
				t.Fatalf("resize %d: %v, want a change", i, got)
			}
			b.Applied(got[0])
		case <-time.After(20 * time.Second):
			t.Fatalf("resize %d: nobody was told", i)
		}
	}
	close(b.unbalanced)
}

// A new agent knows from the runtime what its predecessor did last.
func TestCPUSetsAreRelearned(t *testing.T) {
	b := newCPUSetBench(t)
	ours, foreign := oneCPU(0), oneCPU(1)
	b.run(t, ours)
	foreign.CPUs = "3"
	b.run(t, foreign)
	ours.PID, ours.CPUs, foreign.PID = 42, "2", 42
	again := New(b.cfg)
	if err := again.Synchronize([]Spec{ours, foreign}); err != nil {
		t.Fatal(err)
	}
	if got := b.get(t, ours.ID).CPUSet; got != "2" {
		t.Errorf("ours is %q, want the runtime's 2", got)
	}
	if got := b.get(t, foreign.ID).CPUSet; got != "" {
		t.Errorf("another's became ours: %q", got)
	}
}

func TestCPUSetLeftAlone(t *testing.T) {
	annotated := func(v string) func(*Spec) {
		return func(s *Spec) { s.Annotations = map[string]string{inject.AnnotationCPUSet: v} }
	}
	off := func(c *Config) { c.Inject.CPUSet = false }
	for _, tt := range []struct {
		name   string
		cfg    func(*Config)
		spec   func(*Spec)
		kernel func(*fakeKernel)
		set    string // given to the container
		entry  string
		note   string
		errors map[string]int
	}{
		{name: "on", set: "0", entry: "0"},
		{name: "off", cfg: off},
		{name: "off, the pod asks", cfg: off, spec: annotated("true"), set: "0", entry: "0"},
		{name: "the pod declines", spec: annotated("false")},
		{name: "the pod says nothing", spec: annotated("1"), set: "0", entry: "0", note: "ignored"},
		{name: "as large as the node", spec: func(s *Spec) { s.Limits.CPUMilli = 4000 }, entry: "0-3"},
		{name: "larger than the node", spec: func(s *Spec) { s.Annotations = map[string]string{size.AnnotationCPUs: "7"} }, entry: "0-3"},
		{name: "own", spec: func(s *Spec) { s.CPUs = "0-3" }, note: "specification has one"},
		{name: "left alone", spec: func(s *Spec) { s.Privileged = true }},
		{name: "the pod's CPUs only", kernel: func(k *fakeKernel) { k.cpus = []int{2, 3} }, set: "2", entry: "2"},
		{name: "static CPU manager", kernel: func(k *fakeKernel) { k.static = true }, note: "CPU manager"},
		{name: "unknown CPU manager", kernel: func(k *fakeKernel) { k.staticErr = errTest }, note: "CPU manager",
			errors: map[string]int{"cpu-manager": 1}},
		{name: "unknown CPUs", kernel: func(k *fakeKernel) { k.cpusErr = cgroup.ErrNoController }, note: "could not be read",
			errors: map[string]int{"cpuset": 1}},
		{name: "unknown cgroup", spec: func(s *Spec) { s.CgroupsPath = "bad" }, note: "could not be read",
			errors: map[string]int{"cpuset": 1, "cgroup": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newCPUSetBench(t)
			if tt.cfg != nil {
				b = newCPUSetBench(t, tt.cfg)
			}
			s := oneCPU(0)
			if tt.spec != nil {
				tt.spec(&s)
			}
			if tt.kernel != nil {
				tt.kernel(b.kernel)
			}
			adj, err := b.Create(t.Context(), s)
			if err != nil || adj.CPUSet != tt.set {
				t.Errorf("set %q, %v; want %q", adj.CPUSet, err, tt.set)
			}
			c := b.get(t, s.ID)
			if c.CPUSet != tt.entry {
				t.Errorf("entry says %q, want %q", c.CPUSet, tt.entry)
			}
			if notes := strings.Join(c.Notes, "; "); !strings.Contains(notes, tt.note) || (tt.note == "") != (notes == "") {
				t.Errorf("notes %q, want %q", notes, tt.note)
			}
			if want := tt.errors; !maps.Equal(b.observer.errors, want) {
				t.Errorf("errors %v, want %v", b.observer.errors, want)
			}
		})
	}
}

// While the kubelet manages CPUs nothing moves, also what was placed before.
func TestRebalanceLeavesTheKubeletAlone(t *testing.T) {
	b := newCPUSetBench(t)
	for i := range 5 {
		b.run(t, oneCPU(i))
	}
	for _, n := range []int{1, 2} {
		if err := b.Remove(oneCPU(n).ID); err != nil {
			t.Fatal(err)
		}
	}
	b.kernel.static = true
	if got := b.Rebalance(); len(got) != 0 {
		t.Errorf("rebalance %v", got)
	}
	b.kernel.static = false
	if got := b.Rebalance(); len(got) != 1 {
		t.Errorf("rebalance %v, want one move", got)
	}
}

// One that is created and not started is not moved: the runtime may not know
// it yet, and would say nothing.
func TestRebalanceWaitsForTheStart(t *testing.T) {
	b := newCPUSetBench(t)
	a, c := oneCPU(0), oneCPU(1)
	b.kernel.cpus = []int{0}
	for _, s := range []Spec{a, c} {
		if _, err := b.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	b.kernel.cpus = []int{0, 1}
	if got := b.Rebalance(); len(got) != 0 {
		t.Errorf("rebalance of containers that have not started: %v", got)
	}
	b.start(t, a, "")
	if got, want := b.Rebalance(), []CPUSet{{a.ID, "1"}}; !slices.Equal(got, want) {
		t.Errorf("rebalance %v, want %v", got, want)
	}
}

// Without CPU sets nobody is woken.
func TestBalancedWithoutSets(t *testing.T) {
	b := started(t)
	b.kernel.limits.CPUMilli = 4000
	b.Reconcile(t.Context())
	if err := b.Remove(idA); err != nil {
		t.Fatal(err)
	}
	b.wantUnbalanced(t, false)
}
