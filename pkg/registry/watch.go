package registry

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/pulse"
)

// scanEvery is how often a [Dir.Watch] compares the whole registry with what
// it has seen: inotify is a hint, and loses events when its queue is full.
const scanEvery = 10 * time.Second

// lookEvery is how often what inotify has to tell is read. It is not waited for:
// an event would wake its reader just when a runtime waits for an answer, and
// take the CPU that this needs; and what comes in a row is read once.
const lookEvery = 100 * time.Millisecond

// Watch calls changed with the id of every container whose entry appeared,
// changed or went, from one goroutine, until ctx ends; then it returns ctx's
// error. It does so within 100 ms, of a new container within 400. An id may be
// named without a change; what [Dir.Get] says then is what counts. Every entry
// there is at the beginning is named once. Where the kernel has no watch left to
// give, Watch looks at all of them each second, and blind is told why, once.
func (d *Dir) Watch(ctx context.Context, changed func(id string), blind func(error)) error {
	s := newScan(d, changed, blind)
	return s.run(ctx, scanEvery)
}

// blindEvery is how often the whole registry is looked at while the kernel
// tells of nothing.
const blindEvery = time.Second

func newScan(d *Dir, changed func(id string), blind func(error)) *scan {
	return &scan{dir: d, open: newInotify, blind: blind, seen: make(map[string]Stamp), changed: changed}
}

// run is Watch with a scan every so often.
func (s *scan) run(ctx context.Context, every time.Duration) error {
	defer func() { s.watcher.close() }()
	next := s.all(every)
	for {
		if err := pulse.Wait(ctx, min(every, lookEvery)); err != nil {
			return err
		}
		changed, lost, err := s.watcher.read()
		if err != nil {
			return err
		}
		for _, e := range changed {
			if e.listed && s.later(e.id) {
				continue
			}
			s.one(e.id)
		}
		s.newcomers()
		if lost || !time.Now().Before(next) {
			next = s.all(every)
		}
	}
}

// A scan is what a Watch has seen.
type scan struct {
	dir     *Dir
	open    func(root string) (*inotify, error)
	watcher *inotify    // nil while the kernel gives none
	blind   func(error) // nil once it was told
	seen    map[string]Stamp
	changed func(id string)
	// waiting are new containers, and until when.
	waiting []string
	until   time.Time
}

// newAfter is how long a new container is left alone. Its runtime, which is
// starting it, does not need this, on a CPU that this would take; and by then the
// entry is most likely complete.
const newAfter = 250 * time.Millisecond

// later notes a container that nobody knows yet, and reports whether it is one.
func (s *scan) later(id string) bool {
	if _, known := s.seen[id]; known {
		return false
	}
	if len(s.waiting) == 0 {
		s.until = time.Now().Add(newAfter)
	}
	s.waiting = append(s.waiting, id)
	return true
}

// newcomers looks at the new containers whose time has come.
func (s *scan) newcomers() {
	if len(s.waiting) == 0 || time.Now().Before(s.until) {
		return
	}
	for _, id := range s.waiting {
		s.one(id)
	}
	s.waiting = nil
}

// all looks at every container, and returns when to do so again, where that is
// every so often.
func (s *scan) all(every time.Duration) (next time.Time) {
	if !s.watches() {
		every = min(every, blindEvery)
	}
	next = time.Now().Add(every)
	ids, err := s.dir.IDs()
	if err != nil {
		return next
	}
	there := make(map[string]bool, len(ids))
	for _, id := range ids {
		there[id] = true
		s.one(id)
	}
	for id := range s.seen {
		if !there[id] {
			s.one(id)
		}
	}
	return next
}

// watches has the kernel watch the registry, and reports whether it does.
func (s *scan) watches() bool {
	if s.watcher != nil {
		// Again, in case the directory was made anew; if it fails the scans go on.
		_ = s.watcher.addRoot()
		return true
	}
	w, err := s.open(s.dir.path)
	if err == nil {
		s.watcher = w
	} else if s.blind != nil {
		s.blind(err)
		s.blind = nil
	}
	return err == nil
}

// one names the container if its entry is not the one that was seen. The watch
// is set before the entry is looked at, so that no change is missed between.
func (s *scan) one(id string) {
	s.watcher.addEntry(id)
	var st unix.Stat_t
	err := unix.Stat(filepath.Join(s.dir.path, id, entryFile), &st)
	old, known := s.seen[id]
	switch {
	case err == nil:
		now := stampOf(&st)
		if known && old == now {
			return
		}
		s.seen[id] = now
	case !errors.Is(err, os.ErrNotExist):
		return // an entry that cannot be seen has not gone
	case !known:
		return
	default:
		delete(s.seen, id)
	}
	s.changed(id)
}
