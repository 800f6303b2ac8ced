package fuse

import (
	"context"
	"sync"
	"time"
	"unsafe"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"github.com/truesize/truesize/fuse/ahead"
)

// A Preparer reads files of the view, so that the next reader finds them in
// the kernel's cache. It must be another process than the server: one that
// reads the view cannot be killed until it has its answer.
type Preparer interface {
	// Prepare has the file of that path below the view's root read soon. It
	// does not wait for that, and reports whether it can be done.
	Prepare(path string) bool
}

// preparing has the files that are read at a steady pace read just before
// their readers come (docs/decisions/0006-prepared-reads.md).
type preparing struct {
	by   Preparer // nil: nobody
	mu   sync.Mutex
	plan ahead.Plan[uint64] // by node id
	wake chan struct{}
}

// lead is how long before its reader a file is prepared: in the middle of the
// time in which a snapshot may be shown, for readers come early and late.
func lead(freshness time.Duration) time.Duration { return freshness / 2 }

// slack is how far off its time a reader may come.
func slack(freshness time.Duration) time.Duration { return freshness / 4 }

// seen takes note of a request that was answered: a GETATTR is the first of a
// reader for whom the snapshot was too old.
func (s *Server) seen(request []byte) {
	p := &s.preparing
	if p.by == nil || len(request) < headerIn {
		return
	}
	h := (*gofuse.InHeader)(unsafe.Pointer(&request[0]))
	if h.Opcode != opGetattr {
		return
	}
	_, n, _ := s.lookupNode(h.NodeId)
	if n == nil || n.freshness == 0 {
		return
	}
	at, period := n.seen()
	if period < 2*n.freshness { // or none
		return
	}
	p.mu.Lock()
	p.plan.Set(h.NodeId, at.Add(period-lead(n.freshness)), period)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// prepare has reads prepared when they are due, until ctx ends.
func (s *Server) prepare(ctx context.Context) {
	p := &s.preparing
	if p.by == nil {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		if wait := s.prepareDue(); wait >= 0 {
			timer.Reset(wait)
		}
	}
}

// prepareDue has read what is due, and returns for how long there is nothing
// more to do, negative for ever.
func (s *Server) prepareDue() time.Duration {
	p := &s.preparing
	for {
		p.mu.Lock()
		id, wait, ok := p.plan.Due(time.Now(), maxLate)
		p.mu.Unlock()
		if !ok {
			return wait
		}
		ct, n, e := s.lookupNode(id)
		if n == nil {
			continue // the container is gone
		}
		n.expect()
		if p.by.Prepare(ct.id + "/" + s.opts.Tree.files[e.file].Path) {
			s.stats.prepared.Add(1)
		}
	}
}

// maxLate is how late a preparation may start: later, the reader has come.
const maxLate = 5 * time.Millisecond
