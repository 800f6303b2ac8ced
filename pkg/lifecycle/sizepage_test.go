package lifecycle

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
)

// page returns what the size page of a container says.
func (b *bench) page(t *testing.T, id string) registry.SizePage {
	t.Helper()
	m, err := b.dir.MapSizePage(id)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	return m.SizePage()
}

// hasPage reports whether the page is mounted by an adjustment.
func hasPage(adj inject.Adjustment) bool {
	return slices.ContainsFunc(adj.Mounts, func(m inject.Mount) bool { return m.Destination == registry.SizePagePath })
}

// TestSizePageFollows checks that the page is there when the runtime mounts
// it, and says what the entry says through a container's life.
func TestSizePageFollows(t *testing.T) {
	b := newBench(t)
	s := testSpec(idA)
	adj, err := b.Create(t.Context(), s)
	if err != nil || !hasPage(adj) {
		t.Fatalf("adjustment %+v, %v: want a mount of the page", adj, err)
	}
	want := registry.SizePage{
		CPUs: 2, InjectedCPUs: 2, UsableCPUs: 8, PossibleCPUs: 16, FirstCPU: registry.FirstCPU(idA), Memory: gib,
	}
	if got := b.page(t, idA); got != want {
		t.Errorf("created: page %+v\nwant %+v", got, want)
	}

	s.PID = 42
	b.kernel.limits = s.Limits
	if err := b.Refresh(s); err != nil {
		t.Fatal(err)
	}
	want.Start = 42e9 // 4200 ticks
	if got := b.page(t, idA); got != want {
		t.Errorf("started: page %+v\nwant %+v", got, want)
	}

	b.kernel.limits.CPUMilli, b.kernel.limits.CPUSet = 4000, 3
	if err := b.Refresh(s); err != nil {
		t.Fatal(err)
	}
	want.CPUs, want.UsableCPUs = 3, 3
	if got := b.page(t, idA); got != want {
		t.Errorf("resized: page %+v\nwant %+v", got, want)
	}

	b.kernel.limits.Memory = 2 * gib
	b.Reconcile(t.Context())
	want.Memory = 2 * gib
	if got := b.page(t, idA); got != want {
		t.Errorf("reconciled: page %+v\nwant %+v", got, want)
	}
	b.wantErrors(t, map[string]int{})
}

// TestSizePageOnlyWithShim checks that nothing is written for a container that
// nobody would read it in.
func TestSizePageOnlyWithShim(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Inject.Shim = false })
	if adj, err := b.Create(t.Context(), testSpec(idA)); err != nil || hasPage(adj) {
		t.Errorf("adjustment %+v, %v", adj, err)
	}
	s := testSpec(idB)
	s.Privileged = true
	if adj, err := b.Create(t.Context(), s); err != nil || len(adj.Mounts) != 0 {
		t.Errorf("adjustment %+v, %v", adj, err)
	}
	for _, id := range []string{idA, idB} {
		if _, err := b.dir.MapSizePage(id); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("%s has a size page: %v", id, err)
		}
	}
}

// TestSizePageFails checks that a page that cannot be written is not mounted,
// costs nothing else, and is tried again.
func TestSizePageFails(t *testing.T) {
	b := newBench(t)
	path, err := b.dir.SizePageFile(idA)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(path, 0o755); err != nil { // a directory in its place
		t.Fatal(err)
	}
	adj, err := b.Create(t.Context(), testSpec(idA))
	if err != nil || hasPage(adj) || adj.Shim == "" || len(adj.Views) == 0 {
		t.Errorf("adjustment %+v, %v: want all but the page", adj, err)
	}
	if c := b.get(t, idA); c.Shim == "" || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "size page left out") {
		t.Errorf("entry says %q, %v", c.Shim, c.Notes)
	}
	b.wantErrors(t, map[string]int{"size-page": 1})

	s := testSpec(idA)
	s.PID = 42
	b.kernel.limits = s.Limits
	if err := b.Refresh(s); err == nil {
		t.Error("refreshed without an error")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	b.Reconcile(t.Context()) // nothing in the entry changes
	if got := b.page(t, idA); got.CPUs != 2 {
		t.Errorf("page %+v", got)
	}
}
