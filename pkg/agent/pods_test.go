package agent

import (
	"context"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/lifecycle"
	"github.com/truesize/truesize/pkg/logs"
	"github.com/truesize/truesize/pkg/nri"
)

type silentManager struct {
	nri.Manager // nil: the methods that are not asked here
	removed     []string
}

func (*silentManager) Create(context.Context, lifecycle.Spec) (inject.Adjustment, error) {
	return inject.Adjustment{Shim: "/passed/on"}, nil
}
func (*silentManager) Refresh(lifecycle.Spec) error       { return nil }
func (*silentManager) Synchronize([]lifecycle.Spec) error { return nil }
func (m *silentManager) Remove(id string) error           { m.removed = append(m.removed, id); return nil }

func TestPods(t *testing.T) {
	m := new(silentManager)
	p := newPods(m)
	spec := func(id, image string) lifecycle.Spec {
		return lifecycle.Spec{Container: inject.Container{
			ID: id, Name: "main", Pod: "web", PodUID: "u1", Namespace: "shop", Labels: map[string]string{"app": "web"},
		}, Image: image}
	}
	ref := logs.Ref{Namespace: "shop", Pod: "web", UID: "u1", Container: "main"}
	if _, ok := p.Container(ref); ok {
		t.Error("known before anything was told")
	}
	if a, err := p.Create(t.Context(), spec("one", "v1")); err != nil || a.Shim != "/passed/on" {
		t.Errorf("Create was not passed on: %+v, %v", a, err)
	}
	if got, ok := p.Container(ref); !ok || got.ID != "one" || got.Image != "v1" || got.Labels["app"] != "web" {
		t.Errorf("got %+v, %v", got, ok)
	}
	// The kubelet restarts a container before it removes the old one.
	p.Create(t.Context(), spec("two", "v2"))
	p.Remove("one")
	if got, _ := p.Container(ref); got.ID != "two" {
		t.Errorf("after a restart: %+v, want the new container", got)
	}
	p.Remove("two")
	if _, ok := p.Container(ref); !ok {
		t.Error("a container's last lines are read after its removal, and it is not known")
	}
	p.forget(time.Now().Add(keepGone + time.Second))
	if _, ok := p.Container(ref); ok || len(p.byID) > 0 {
		t.Error("removed containers are kept for ever")
	}
	if len(m.removed) != 2 {
		t.Errorf("removals passed on: %v, want both", m.removed)
	}
}

// What was removed while the runtime was away is not told; the list that comes
// with the next registration does not have it.
func TestPodsMissedRemoval(t *testing.T) {
	p := newPods(new(silentManager))
	spec := func(id, uid string) lifecycle.Spec {
		return lifecycle.Spec{Container: inject.Container{ID: id, Name: "main", Pod: "web", PodUID: uid}}
	}
	for _, s := range []lifecycle.Spec{spec("one", "u1"), spec("two", "u2")} {
		if _, err := p.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Synchronize([]lifecycle.Spec{spec("two", "u2")}); err != nil {
		t.Fatal(err)
	}
	p.forget(time.Now().Add(keepGone + time.Second))
	if len(p.known) != 1 || len(p.byID) != 1 || p.byID["two"].uid != "u2" {
		t.Errorf("remembered: %v, %v; want the one that is left", p.byID, p.known)
	}
}

// Without log forwarding nobody asks for metadata, and none is kept.
func TestPodsOnlyForLogs(t *testing.T) {
	a := &agent{manager: new(lifecycle.Manager)}
	a.pods = newPods(a.manager)
	if m := a.followed(); m != nri.Manager(a.manager) {
		t.Errorf("without logs: %T", m)
	}
	a.logs = new(logs.Component)
	if m := a.followed(); m != nri.Manager(a.pods) {
		t.Errorf("with logs: %T", m)
	}
}
