package fuse

import (
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// topTTL is for how long the kernel may keep the attributes of the root, by
// whose mtime it caches its listing.
const topTTL = time.Second

// lookupNode returns the node, or the tree's entry when it is a directory.
// Both are nil for an id that names nothing.
func (s *Server) lookupNode(id uint64) (*container, *node, *entry) {
	hash, index := splitNodeID(id)
	ct := s.container(hash)
	if ct == nil {
		return nil, nil, nil
	}
	e := s.opts.Tree.byPath[index]
	switch {
	case e == nil:
		return nil, nil, nil
	case e.isDir():
		return ct, nil, e
	}
	return ct, &ct.nodes[e.file], e
}

// attr fills in the attributes of a node and returns how long they hold.
func (s *Server) attr(id uint64, now time.Time, a *gofuse.Attr) (time.Duration, syscall.Errno) {
	switch id {
	case rootID:
		s.mu.RLock()
		defer s.mu.RUnlock()
		dirAttr(id, s.topMtime, a)
		return topTTL, 0
	case serviceDirID:
		dirAttr(id, s.start.UnixNano(), a)
		return staticFor, 0
	case versionID:
		st, _ := s.service.current(now)
		st.mtime = now.UnixNano()
		fileAttr(id, st, a)
		return 0, 0
	}
	_, n, e := s.lookupNode(id)
	if e == nil {
		s.stats.staleNodes.Add(1)
		return 0, syscall.ESTALE
	}
	if n == nil {
		dirAttr(id, s.start.UnixNano(), a)
		return staticFor, 0
	}
	return s.snapshot(n, now, a)
}

// snapshot fills in the attributes of a file, rendered anew when due.
func (s *Server) snapshot(n *node, now time.Time, a *gofuse.Attr) (time.Duration, syscall.Errno) {
	st, err := n.current(now)
	switch {
	case err == errRemoved:
		return 0, syscall.ESTALE
	case st.size == 0:
		return 0, syscall.EIO
	}
	fileAttr(n.id, st, a)
	return st.fresh, 0
}

// dirAttr fills in the attributes of a directory. The mtime of those below a
// container is when the server started: its containers all have the same
// files, and pkg/viewd tells by it whether it has seen them.
func dirAttr(id uint64, mtime int64, a *gofuse.Attr) {
	a.Ino, a.Mode, a.Nlink, a.Blksize = inodeNumber(id), syscall.S_IFDIR|0o555, 2, pageSize
	setTimes(mtime, a)
}

func fileAttr(id uint64, st stamp, a *gofuse.Attr) {
	a.Ino, a.Mode, a.Nlink, a.Blksize = inodeNumber(id), syscall.S_IFREG|0o444, 1, pageSize
	a.Size = st.size
	setTimes(st.mtime, a)
}

func setTimes(mtime int64, a *gofuse.Attr) {
	sec, nsec := uint64(mtime/1e9), uint32(mtime%1e9)
	a.Atime, a.Mtime, a.Ctime = sec, sec, sec
	a.Atimensec, a.Mtimensec, a.Ctimensec = nsec, nsec, nsec
}
