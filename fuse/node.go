package fuse

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/truesize/truesize/fuse/ahead"
	"github.com/truesize/truesize/fuse/kept"
)

// Content renders the files of one container.
type Content interface {
	// Render appends to dst what file shows now: the number is its position
	// in the list given to [NewTree]. It is called by one goroutine at a time
	// per file, by several for different files. The length is the same at
	// every call until the container's size changes, and never 0. An error
	// leaves the file as it was last seen.
	//
	// For a file of freshness 0 dst is nil, and the server keeps what is
	// returned instead of a copy: it must not change, and may be shared.
	Render(dst []byte, file int) ([]byte, error)
}

// An Unstarted content is one of a container whose program may not run yet.
// Nobody reads its files then, but the runtime looks them up to mount them.
type Unstarted interface {
	// Unstarted returns for how long from now on the kernel may keep what it
	// is told of the files, though their bounds are shorter: 0 once the
	// program may run. The owner calls [Server.Started] when it does.
	Unstarted() time.Duration
	// Length returns the length in bytes of what Render gives for the file, 0
	// when only Render can tell: a look-up asks for no more than that.
	Length(file int) int
	// Begun is called when a file is read: the program runs.
	Begun()
}

var errEmpty = errors.New("rendered to nothing")

// A node is one file of one container and the snapshot of it that the kernel
// was last told of.
type node struct {
	id        uint64
	file      int
	freshness time.Duration

	// render is held while a snapshot is made, so that one is made at a time
	// and the others who asked get it too. It is taken before mu.
	render   sync.Mutex
	content  Content      // nil once the container is removed
	at       time.Time    // when data was rendered; zero: render at the next request
	made     bool         // since seen was called
	expected bool         // the next one asks in order to prepare
	rhythm   ahead.Rhythm // of those for whom it was rendered

	// unstarted says that the kernel may keep what it was told last for longer
	// than the bound: see [Unstarted].
	unstarted atomic.Bool

	// mu guards what a READ copies from: held for a memory copy only.
	mu    sync.Mutex
	data  []byte
	mtime int64 // ns since the epoch

	kept *kept.Snapshots // where data outlives the server; nil: nowhere
}

// A stamp is what the kernel is told of a snapshot.
type stamp struct {
	size  uint64
	mtime int64
	// fresh is for how long the kernel need not ask again.
	fresh time.Duration
}

// staticFor is how long the kernel may keep what only an invalidation
// changes. It is not for ever, so that a lost one heals.
const staticFor = time.Hour

// current returns the stamp of a snapshot within the freshness bound, made
// now if need be, or announced. With an error and no earlier snapshot, its size
// is 0.
func (n *node) current(now time.Time) (s stamp, err error) {
	n.render.Lock()
	defer n.render.Unlock()
	if s, ok := n.announce(now); ok {
		return s, nil
	}
	s, err = n.rendered(now)
	if u, ok := n.content.(Unstarted); ok && n.freshness > 0 {
		wait := u.Unstarted()
		n.unstarted.Store(wait > s.fresh)
		s.fresh = max(s.fresh, wait)
	}
	return s, err
}

// snapshot is current for those who need the snapshot itself, and do not tell
// the kernel of it.
func (n *node) snapshot(now time.Time) (s stamp, err error) {
	n.render.Lock()
	defer n.render.Unlock()
	return n.rendered(now)
}

// rendered is snapshot. render is held.
func (n *node) rendered(now time.Time) (s stamp, err error) {
	if n.content == nil {
		return stamp{}, errRemoved
	}
	if age := now.Sub(n.at); n.at.IsZero() || (n.freshness > 0 && age >= n.freshness) {
		err = n.make(now)
	}
	return n.stampAt(now), err
}

// announce returns the stamp of the first snapshot without making it, where
// the container's program does not run yet. render is held.
func (n *node) announce(now time.Time) (s stamp, ok bool) {
	u, ok := n.content.(Unstarted)
	if !ok || n.freshness == 0 || !n.at.IsZero() || n.restored() {
		return stamp{}, false
	}
	length, wait := u.Length(n.file), u.Unstarted() // in this order: the one may find out about the other
	if length == 0 || wait == 0 {
		return stamp{}, false
	}
	n.unstarted.Store(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mtime == 0 {
		n.mtime = now.UnixNano()
	}
	return stamp{size: uint64(length), mtime: n.mtime, fresh: wait}, true
}

// seen takes note of a reader, and returns when a snapshot was made for it and
// the period at which readers come, 0 when there is none. One for whom nothing
// was made tells nothing: it came within the bound of another. So it is with
// the one who was to come: it prepares.
func (n *node) seen() (at time.Time, period time.Duration) {
	n.render.Lock()
	defer n.render.Unlock()
	if n.made && !n.expected {
		period = n.rhythm.Seen(n.at, slack(n.freshness))
	}
	n.expected = n.expected && !n.made
	n.made = false
	return n.at, period
}

// expect says that the next one for whom a snapshot is made only prepares.
func (n *node) expect() {
	n.render.Lock()
	defer n.render.Unlock()
	n.made, n.expected = false, true
}

// stampAt returns the stamp of the snapshot there is. render is held.
func (n *node) stampAt(now time.Time) stamp {
	n.mu.Lock()
	s := stamp{size: uint64(len(n.data)), mtime: n.mtime, fresh: staticFor}
	n.mu.Unlock()
	if n.freshness > 0 {
		// What is left of the bound: a reader's copy is never older than that.
		s.fresh = max(n.freshness-now.Sub(n.at), 0)
	}
	return s
}

// begun tells the content that it is read.
func (n *node) begun() {
	n.render.Lock()
	defer n.render.Unlock()
	if u, ok := n.content.(Unstarted); ok {
		u.Begun()
	}
}

// started ends what unstarted allowed, and reports whether the kernel may hold
// anything by that. A stamp that is being made is made before or after.
func (n *node) started() bool {
	n.render.Lock()
	defer n.render.Unlock()
	return n.unstarted.Swap(false)
}

// scratch holds the buffers into which snapshots are rendered. A snapshot is
// copied out at its exact size, so a node holds no more than it shows.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 8192); return &b }}

// make renders a snapshot. render is held.
func (n *node) make(now time.Time) error {
	var dst []byte
	if n.freshness > 0 {
		buf := scratch.Get().(*[]byte)
		defer func() {
			*buf = dst[:0]
			scratch.Put(buf)
		}()
		dst = (*buf)[:0]
	}
	out, err := n.content.Render(dst, n.file)
	if err == nil && len(out) == 0 {
		err = errEmpty
	}
	// A failed render is not tried again before the bound, either.
	n.at, n.made = now, true
	if err != nil {
		return err
	}
	dst = out
	n.mu.Lock()
	defer n.mu.Unlock()
	if bytes.Equal(out, n.data) {
		return nil // the kernel's pages are still right: same mtime
	}
	// The first one has the mtime that was announced.
	if n.data != nil || n.mtime == 0 {
		n.mtime = max(now.UnixNano(), n.mtime+1)
	}
	switch {
	case n.freshness == 0:
		n.data = out
	case len(out) == len(n.data):
		copy(n.data, out)
	default:
		n.data = bytes.Clone(out)
	}
	if n.kept != nil {
		n.kept.Store(n.id, n.data, n.mtime)
	}
	return nil
}

// restored reports whether the node has a snapshot to begin with.
func (n *node) restored() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.data != nil
}

// stampNow returns the size and mtime of the snapshot there is.
func (n *node) stampNow() stamp {
	n.mu.Lock()
	defer n.mu.Unlock()
	return stamp{size: uint64(len(n.data)), mtime: n.mtime}
}

// restore begins with the snapshot that an earlier server made last: its
// attributes are what the kernel has, so READ must be answered from it, and
// its mtime is where the next one goes on. The next GETATTR renders.
func (n *node) restore(from *kept.Snapshots) {
	n.kept = from
	if from == nil {
		return
	}
	if data, mtime, ok := from.Load(n.id); ok {
		n.data, n.mtime = data, mtime
	}
}

// read copies the snapshot from off on, and fills the rest of dst with spaces:
// the kernel shows of its pages what the file's size covers, and where that is
// just changing, a reader must not find NUL bytes behind the end of what was
// read. exact leaves the spaces out. ok is false when there is no snapshot.
func (n *node) read(dst []byte, off uint64, exact bool) (copied int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if size := uint64(len(n.data)); off < size {
		copied = copy(dst, n.data[off:])
	}
	if exact {
		return copied, n.data != nil
	}
	for i := copied; i < len(dst); i++ {
		dst[i] = ' '
	}
	return len(dst), n.data != nil
}

const pageSize = 4096

// expire makes the next request render, with the content c from now on.
func (n *node) expire(c Content) {
	n.render.Lock()
	defer n.render.Unlock()
	n.content, n.at = c, time.Time{}
}

// refresh makes the next request render.
func (n *node) refresh() {
	n.render.Lock()
	defer n.render.Unlock()
	n.at = time.Time{}
}

// remove ends the node: it waits for a render that runs and lets none follow.
func (n *node) remove() {
	n.render.Lock()
	defer n.render.Unlock()
	n.content = nil // data stays for the READ that may be under way
	if n.kept != nil {
		n.kept.Drop(n.id)
	}
}
