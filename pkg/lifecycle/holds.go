package lifecycle

import "sync"

// holds let one at a time work at a container's entry, and never make it wait
// for work at another's. The zero value is ready.
type holds struct {
	mu   sync.Mutex
	byID map[string]*hold
}

type hold struct {
	mu    sync.Mutex
	users int // that have it, or wait for it
}

// take waits until nobody else has container id, and keeps others from it until
// release is called.
func (h *holds) take(id string) (release func()) {
	h.mu.Lock()
	c := h.byID[id]
	if c == nil {
		if h.byID == nil {
			h.byID = make(map[string]*hold)
		}
		c = new(hold)
		h.byID[id] = c
	}
	c.users++
	h.mu.Unlock()
	c.mu.Lock()
	return func() {
		c.mu.Unlock()
		h.mu.Lock()
		defer h.mu.Unlock()
		if c.users--; c.users == 0 {
			delete(h.byID, id)
		}
	}
}
