package nri

import "sync"

// turns keep the requests of each container in the order in which they came,
// also those that the runtime does not wait for. The zero value is ready.
type turns struct {
	mu   sync.Mutex
	last map[string]chan struct{} // closed when the container's last request is done
}

// take returns what to wait for before the work of a request begins, nil when
// there is nothing, and what to call when it has ended.
func (t *turns) take(id string) (before <-chan struct{}, done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last = make(map[string]chan struct{})
	}
	if last := t.last[id]; last != nil {
		before = last
	}
	own := make(chan struct{})
	t.last[id] = own
	return before, func() {
		close(own)
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.last[id] == own {
			delete(t.last, id)
		}
	}
}
