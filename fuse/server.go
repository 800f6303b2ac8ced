package fuse

import (
	"errors"
	"fmt"
	"log"
	"slices"
	"sync"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"github.com/truesize/truesize/fuse/kept"
)

var (
	// ErrCollision says that a container's id gives the node ids of another.
	ErrCollision = errors.New("node ids collide")

	errRemoved = errors.New("container is removed")
)

// Options are what a [Server] is made of.
type Options struct {
	Tree *Tree
	// Version is the content of .truesize/version.
	Version string
	// Find is called when a container is looked up that the server does not
	// know: it calls [Server.Put] and returns true if there is one. It may be
	// nil.
	Find func(id string) bool
	// Threads is the number of threads that serve requests, 2 to kept.Slots.
	Threads int
	// Preparer has files read that are about to be. Without it, none is.
	Preparer Preparer
	// Kept is what outlives the server. Without it, nothing does.
	Kept *kept.Memory
	// Warn is told of what makes the server less safe. It may be nil.
	Warn func(error)
	// Panicked is told of a request that panicked and got EIO. It may be nil.
	Panicked func(value string, stack []byte)
}

// A Server answers the requests of one FUSE connection.
type Server struct {
	opts  Options
	proto *gofuse.ProtocolServer
	stats stats
	start time.Time

	// service is .truesize/version: never fresh, so that reading it proves
	// that the server answers.
	service node

	mu        sync.RWMutex
	byHash    map[uint64]*container
	snapshots *kept.Snapshots // outlive the server; nil before Serve and without Options.Kept
	topMtime  int64           // of the root: the kernel caches its listing by it

	notify    notifier
	spin      spinner
	preparing preparing
}

// primeAfter is when the first snapshots of a new container are made, of the
// files that nobody has read: when its runtime, which would have to share the
// CPUs with this, has most likely started it.
const primeAfter = time.Second

// A container is one container's subtree.
type container struct {
	id    string
	hash  uint64
	nodes []node // by file number
}

// New returns a server that knows no container yet.
func New(opts Options) (*Server, error) {
	if opts.Threads < 2 || opts.Threads > kept.Slots {
		return nil, fmt.Errorf("%d threads: want 2 to %d", opts.Threads, kept.Slots)
	}
	s := &Server{
		opts:     opts,
		start:    time.Now(),
		byHash:   make(map[uint64]*container),
		topMtime: time.Now().UnixNano(),
	}
	s.service = node{id: versionID, freshness: time.Nanosecond, content: versionLine(opts.Version)}
	s.notify.wake = make(chan struct{}, 1)
	s.preparing.by, s.preparing.wake = opts.Preparer, make(chan struct{}, 1)
	s.proto = gofuse.NewProtocolServer(&namespace{s: s, RawFileSystem: gofuse.NewDefaultRawFileSystem()}, &gofuse.MountOptions{
		MaxWrite:             maxPayload,
		ExtraCapabilities:    gofuse.CAP_NO_OPENDIR_SUPPORT | gofuse.CAP_HAS_RESEND,
		DisabledCapabilities: gofuse.CAP_READDIRPLUS | gofuse.CAP_PASSTHROUGH | gofuse.CAP_BIG_WRITES,
		Logger:               log.New(&s.stats.protocolErrors, "", 0),
		PanicHandler:         s.recovered,
	})
	return s, nil
}

// Since returns when the server started: the mtime of its directories.
func (s *Server) Since() time.Time { return s.start }

type versionLine string

func (v versionLine) Render(dst []byte, _ int) ([]byte, error) {
	return append(append(dst, v...), '\n'), nil
}

// Put adds container id with its content, or replaces its content: then all
// that the kernel holds of it is invalidated. A new one may be missing in the
// root's listing for a second. The error wraps [ErrCollision].
func (s *Server) Put(id string, c Content) error {
	hash, ok := containerHash(id)
	if !ok {
		return fmt.Errorf("%w: %s with the view's own", ErrCollision, id)
	}
	s.mu.Lock()
	old := s.byHash[hash]
	if old == nil {
		ct := s.newContainer(id, hash, c)
		s.byHash[hash] = ct
		s.touchTop()
		if s.snapshots != nil { // else Serve does it
			time.AfterFunc(primeAfter, func() { s.prime(ct) })
		}
	}
	s.mu.Unlock()
	switch {
	case old == nil: // the listing of the root follows when its attributes have run out
	case old.id != id:
		return fmt.Errorf("%w: %s with %s", ErrCollision, id, old.id)
	default:
		s.expire(old, c)
	}
	return nil
}

func (s *Server) newContainer(id string, hash uint64, c Content) *container {
	ct := &container{id: id, hash: hash, nodes: make([]node, len(s.opts.Tree.files))}
	for _, e := range s.opts.Tree.byPath {
		if !e.isDir() {
			n := &ct.nodes[e.file]
			n.id, n.file = nodeID(hash, e.index), e.file
			n.freshness, n.content = s.opts.Tree.files[e.file].Freshness, c
			n.restore(s.snapshots)
		}
	}
	return ct
}

// expire replaces the content of every node and invalidates it: the kernel may
// hold any of them, also from an earlier server.
func (s *Server) expire(ct *container, c Content) {
	for i := range ct.nodes {
		ct.nodes[i].expire(c)
		s.notify.inode(ct.nodes[i].id)
	}
}

// Refresh invalidates one file of every container: its size may have changed
// for another reason than the container's.
func (s *Server) Refresh(file int) {
	for _, ct := range s.listing() {
		ct.nodes[file].refresh()
		s.notify.inode(ct.nodes[file].id)
	}
}

// Started says that the program of container id runs: the kernel has to ask for
// what it was allowed to keep until then. Its pages stay, as far as what they
// show does.
func (s *Server) Started(id string) {
	hash, _ := containerHash(id)
	if ct := s.container(hash); ct != nil && ct.id == id {
		s.started(ct)
	}
}

func (s *Server) started(ct *container) {
	for i := range ct.nodes {
		if ct.nodes[i].started() {
			s.notify.attributes(ct.nodes[i].id)
		}
	}
}

// begun is called before a READ of a container that is taken for one whose
// program does not run. The kernel has not asked how old the snapshot of node n
// is; a reader who begins at the start gets one within the bound.
func (s *Server) begun(ct *container, n *node, off uint64) {
	n.begun()
	s.started(ct)
	if off == 0 {
		_, _ = n.snapshot(time.Now()) // on failure the last one is shown
	}
}

// Remove takes container id away. When it returns, no render of its content
// runs, nor will. Its nodes answer ESTALE from then on.
func (s *Server) Remove(id string) {
	hash, _ := containerHash(id)
	s.mu.Lock()
	ct := s.byHash[hash]
	if ct == nil || ct.id != id {
		s.mu.Unlock()
		return
	}
	delete(s.byHash, hash)
	s.touchTop()
	s.mu.Unlock()
	for i := range ct.nodes {
		ct.nodes[i].remove()
		s.notify.inode(ct.nodes[i].id)
	}
	s.notify.entry(rootID, id)
	s.notify.inode(rootID)
}

// touchTop gives the root a new mtime. mu is held.
func (s *Server) touchTop() { s.topMtime = max(time.Now().UnixNano(), s.topMtime+1) }

func (s *Server) container(hash uint64) *container {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byHash[hash]
}

// byName returns container id, which Find may bring in.
func (s *Server) byName(id string) *container {
	hash, ok := containerHash(id)
	if !ok {
		return nil
	}
	ct := s.container(hash)
	if ct == nil && s.opts.Find != nil && s.opts.Find(id) {
		ct = s.container(hash)
	}
	if ct == nil || ct.id != id {
		s.stats.unknownIDs.Add(1)
		return nil
	}
	return ct
}

// listing returns the containers and their hashes' order, which is the order
// of a directory read in pieces: it survives containers that come and go.
func (s *Server) listing() []*container {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]*container, 0, len(s.byHash))
	for _, ct := range s.byHash {
		list = append(list, ct)
	}
	slices.SortFunc(list, func(a, b *container) int {
		if a.hash < b.hash {
			return -1
		}
		return 1
	})
	return list
}
