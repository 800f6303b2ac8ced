package agent

import (
	"context"
	"maps"
	"sync"

	"github.com/truesize/truesize/pkg/nri"
)

// sandboxes is the set of pod sandboxes that the runtime has. It is complete
// only while the runtime is connected.
type sandboxes struct {
	mu  sync.Mutex
	ids map[string]bool // nil while nothing is known
}

var _ nri.Sandboxes = (*sandboxes)(nil)

func (s *sandboxes) Known(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = make(map[string]bool, len(ids))
	for _, id := range ids {
		s.ids[id] = true
	}
}

func (s *sandboxes) Added(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids != nil {
		s.ids[id] = true
	}
}

func (s *sandboxes) Removed(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ids, id)
}

func (s *sandboxes) Unknown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = nil
}

// all returns a copy of the set; ok is false while it is not known.
func (s *sandboxes) all(context.Context) (ids map[string]bool, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.ids), s.ids != nil
}
