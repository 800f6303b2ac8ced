package fuse

import (
	"bytes"
	"syscall"
	"time"
	"unsafe"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"github.com/truesize/truesize/fuse/kept"
)

// degradedTTL is for how long the kernel may keep what a [Fallback] told it: a
// server that comes back is asked soon.
const degradedTTL = time.Second

// FallbackOptions are what a [Fallback] is made of.
type FallbackOptions struct {
	Tree *Tree
	Kept *kept.Memory
	// Known reports whether there is a container of that id.
	Known func(id string) bool
	// HostFile returns the host's file for a path of the tree: "proc/meminfo".
	HostFile func(path string) ([]byte, error)
}

// A Fallback answers requests while no server can be started, so that no
// reader hangs: files as they were last seen, else the host's. It renders
// nothing and knows no container. One goroutine uses it.
type Fallback struct {
	opts      FallbackOptions
	server    *Server // without containers: INIT, STATFS, refusals
	snapshots *kept.Snapshots
	host      map[uint64]*hostFile // by node
}

// A hostFile is a file of the host that is shown in the place of a node.
type hostFile struct {
	data []byte
	read time.Time
}

// maxHostFiles bounds the files of the host that are held.
const maxHostFiles = 1024

// NewFallback returns a Fallback that begins with the snapshots kept now.
func NewFallback(o FallbackOptions) (*Fallback, error) {
	s, err := New(Options{Tree: o.Tree, Threads: 2})
	if err != nil {
		return nil, err
	}
	return &Fallback{opts: o, server: s, snapshots: o.Kept.Snapshots(), host: make(map[uint64]*hostFile)}, nil
}

// BufferSize is the size of the buffers that [Fallback.Answer] works on, in
// bytes.
const BufferSize = outSize

// Answer answers the request in in, writing the reply into out, of BufferSize.
// It returns the reply's length, 0 when there is to be none. Both must be
// 8-byte aligned.
func (f *Fallback) Answer(in, out []byte) int {
	if len(in) < headerIn {
		return 0
	}
	f.opts.Kept.Count(kept.Degraded)
	h := (*gofuse.InHeader)(unsafe.Pointer(&in[0]))
	switch h.Opcode {
	case opInit:
		f.opts.Kept.SaveInit(in)
	case opGetattr:
		a := (*gofuse.AttrOut)(unsafe.Pointer(&out[headerOut]))
		*a = gofuse.AttrOut{}
		if errno := f.attr(h.NodeId, &a.Attr); errno != 0 {
			return reply(out, h.Unique, errno)
		}
		a.SetTimeout(degradedTTL)
		return replyData(out, h.Unique, int(unsafe.Sizeof(*a)))
	case opRead:
		if len(in) >= int(unsafe.Sizeof(gofuse.ReadIn{})) {
			return f.read((*gofuse.ReadIn)(unsafe.Pointer(h)), out)
		}
	case opLookup:
		return f.lookup(h, in[headerIn:], out)
	case opReaddir:
		return replyData(out, h.Unique, 0)
	}
	return f.server.handle(in, out)
}

func (f *Fallback) lookup(h *gofuse.InHeader, rest, out []byte) int {
	name, _, _ := bytes.Cut(rest, []byte{0})
	e := (*gofuse.EntryOut)(unsafe.Pointer(&out[headerOut]))
	*e = gofuse.EntryOut{}
	id, errno := f.resolve(h.NodeId, string(name))
	if errno == 0 {
		errno = f.attr(id, &e.Attr)
	}
	if errno != 0 {
		return reply(out, h.Unique, errno)
	}
	e.NodeId, e.Generation = id, generation
	e.SetEntryTimeout(degradedTTL)
	e.SetAttrTimeout(degradedTTL)
	return replyData(out, h.Unique, int(unsafe.Sizeof(*e)))
}

// resolve returns the node of name in a directory. Nothing is said to not
// exist for longer than the request.
func (f *Fallback) resolve(dir uint64, name string) (uint64, syscall.Errno) {
	switch {
	case dir == rootID && name == serviceDir:
		return serviceDirID, 0
	case dir == rootID:
		if hash, ok := containerHash(name); ok && f.opts.Known(name) {
			return nodeID(hash, f.opts.Tree.root.index), 0
		}
		return 0, syscall.ENOENT
	case dir == serviceDirID:
		return 0, syscall.ENOENT // the view's version is the server's to tell
	}
	hash, index := splitNodeID(dir)
	if e := f.opts.Tree.byPath[index]; e != nil && e.isDir() {
		if child := e.child(name); child != nil {
			return nodeID(hash, child.index), 0
		}
	}
	return 0, syscall.ENOENT
}

func (f *Fallback) attr(id uint64, a *gofuse.Attr) syscall.Errno {
	_, index := splitNodeID(id)
	e := f.opts.Tree.byPath[index]
	switch {
	case id == rootID, id == serviceDirID, e != nil && e.isDir():
		dirAttr(id, f.server.start.UnixNano(), a)
		return 0
	case id == versionID, e == nil:
		return syscall.ESTALE
	}
	data, mtime, errno := f.content(id, e, true)
	if errno == 0 {
		fileAttr(id, stamp{size: uint64(len(data)), mtime: mtime}, a)
	}
	return errno
}

func (f *Fallback) read(in *gofuse.ReadIn, out []byte) int {
	_, index := splitNodeID(in.NodeId)
	e := f.opts.Tree.byPath[index]
	if e == nil || e.isDir() || in.NodeId == versionID {
		return reply(out, in.Unique, syscall.ESTALE)
	}
	data, _, errno := f.content(in.NodeId, e, false)
	if errno != 0 {
		return reply(out, in.Unique, errno)
	}
	n := node{data: data}
	size := min(int(in.Size), len(out)-headerOut)
	direct := in.Flags&syscall.O_DIRECT != 0
	copied, _ := n.read(out[headerOut:headerOut+size], in.Offset, direct)
	return replyData(out, in.Unique, copied)
}

// content returns what to show for a file. renew says that an old copy of the
// host's file may be read anew: when attributes are asked for, not between
// the pages of one snapshot.
func (f *Fallback) content(id uint64, e *entry, renew bool) (data []byte, mtime int64, errno syscall.Errno) {
	if data, mtime, ok := f.snapshots.Load(id); ok {
		return data, mtime, 0
	}
	h := f.host[id]
	if h == nil || (renew && time.Since(h.read) > degradedTTL) {
		data, err := f.opts.HostFile(e.path())
		if err != nil || len(data) == 0 {
			return nil, 0, syscall.EIO
		}
		f.opts.Kept.Count(kept.HostFiles)
		if len(f.host) >= maxHostFiles {
			clear(f.host)
		}
		h = &hostFile{data: data, read: time.Now()}
		f.host[id] = h
	}
	return h.data, h.read.UnixNano(), 0
}

// path returns the entry's path in the tree.
func (e *entry) path() string {
	if e.parent == nil || e.parent.parent == nil {
		return e.name
	}
	return e.parent.path() + "/" + e.name
}
