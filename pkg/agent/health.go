package agent

import (
	"errors"
	"sync"
	"time"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/metrics"
)

// health knows whether the agent is ready: registered with the runtime, and
// the view answers. It observes the NRI client, and passes on to the metrics.
type health struct {
	metrics *metrics.Metrics
	viewOff bool // the configuration wants none

	mu         sync.Mutex
	registered bool
	view       error // why the view is not ready
}

var errNotAsked = errors.New("not asked yet")

// newHealth returns the health of an agent that has just begun.
func newHealth(m *metrics.Metrics, withView bool) *health {
	h := &health{metrics: m, viewOff: !withView}
	if withView {
		h.view = errNotAsked
	}
	return h
}

// A check is one condition of readiness.
type check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Note string `json:"note,omitempty"`
}

// checks returns the conditions and whether they all hold.
func (h *health) checks() (list []check, ready bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	nri := check{Name: "nri", OK: h.registered, Note: "registered with the container runtime"}
	if !nri.OK {
		nri.Note = "not registered with the container runtime: enable NRI in its configuration, see the agent's log"
	}
	view := check{Name: "view", OK: h.view == nil, Note: "the view answers"}
	switch {
	case h.viewOff:
		view.Note = "switched off in the configuration"
	case !view.OK:
		view.Note = h.view.Error()
	}
	return []check{nri, view}, nri.OK && view.OK
}

// viewAnswered notes the end of a question to the view.
func (h *health) viewAnswered(err error) {
	h.mu.Lock()
	h.view = err
	h.mu.Unlock()
	h.metrics.ViewUp(err == nil)
}

// Connected implements nri.Observer.
func (h *health) Connected(ok bool) {
	h.mu.Lock()
	h.registered = ok
	h.mu.Unlock()
	h.metrics.Connected(ok)
}

// Request implements nri.Observer.
func (h *health) Request(name string, d time.Duration) { h.metrics.Request(name, d) }

// Injection implements nri.Observer.
func (h *health) Injection(a inject.Adjustment, failed bool) { h.metrics.Injection(a, failed) }

// Error implements nri.Observer.
func (h *health) Error(op string) { h.metrics.Error(op) }
