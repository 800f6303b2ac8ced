package agent

import (
	"context"
	"sync"
	"time"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/lifecycle"
	"github.com/truesize/truesize/pkg/logs"
	"github.com/truesize/truesize/pkg/nri"
)

// keepGone is for how long a removed container's metadata is kept: its last
// lines are read after it has ended.
const keepGone = 10 * time.Minute

// pods remembers what the runtime tells of containers, for their log records,
// and passes it all on to the manager.
type pods struct {
	nri.Manager

	mu    sync.Mutex
	known map[podContainer]pod
	byID  map[string]podContainer
}

// A podContainer names a container as its log directory does, whichever its
// restart.
type podContainer struct{ uid, container string }

type pod struct {
	meta logs.Meta
	gone time.Time // zero while the container exists
}

var (
	_ nri.Manager   = (*pods)(nil)
	_ logs.Metadata = (*pods)(nil)
)

func newPods(m nri.Manager) *pods {
	return &pods{Manager: m, known: make(map[podContainer]pod), byID: make(map[string]podContainer)}
}

// Container implements [logs.Metadata].
func (p *pods) Container(ref logs.Ref) (logs.Meta, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.known[podContainer{ref.UID, ref.Container}]
	return known.meta, ok
}

func (p *pods) Create(ctx context.Context, s lifecycle.Spec) (inject.Adjustment, error) {
	p.note(s)
	return p.Manager.Create(ctx, s)
}

func (p *pods) Refresh(s lifecycle.Spec) error {
	p.note(s)
	return p.Manager.Refresh(s)
}

func (p *pods) Synchronize(specs []lifecycle.Spec) error {
	live := make(map[string]bool, len(specs))
	for _, s := range specs {
		live[s.ID] = true
		p.note(s)
	}
	p.mu.Lock()
	for id := range p.byID {
		if !live[id] { // removed while the runtime could not tell
			p.remove(id)
		}
	}
	p.mu.Unlock()
	return p.Manager.Synchronize(specs)
}

func (p *pods) Remove(id string) error {
	p.mu.Lock()
	p.remove(id)
	p.mu.Unlock()
	return p.Manager.Remove(id)
}

// remove notes that a container has gone, and drops those that went long ago.
// mu is held.
func (p *pods) remove(id string) {
	if key, ok := p.byID[id]; ok {
		delete(p.byID, id)
		// A restarted container has taken the key over.
		if k := p.known[key]; k.meta.ID == id {
			k.gone = time.Now()
			p.known[key] = k
		}
	}
	p.forget(time.Now())
}

// note remembers a container.
func (p *pods) note(s lifecycle.Spec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := podContainer{s.PodUID, s.Name}
	p.known[key] = pod{meta: logs.Meta{
		ID: s.ID, Image: s.Image, PodIP: s.PodIP,
		Namespace: s.Namespace, Pod: s.Pod, UID: s.PodUID, Container: s.Name,
		Labels: s.Labels, Annotations: s.Annotations,
	}}
	p.byID[s.ID] = key
}

// forget drops what was removed long ago. mu is held.
func (p *pods) forget(now time.Time) {
	for key, k := range p.known {
		if !k.gone.IsZero() && now.Sub(k.gone) > keepGone {
			delete(p.known, key)
		}
	}
}
