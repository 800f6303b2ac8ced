package fuse

import (
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// negativeTTL is for how long the kernel may remember that a name does not
// exist below a container. Names there change with the server's version only.
const negativeTTL = 10 * time.Second

// namespace answers what go-fuse's ProtocolServer parses: lists, and what is
// asked once.
type namespace struct {
	gofuse.RawFileSystem
	s *Server
}

var _ gofuse.RawFileSystem = (*namespace)(nil)

func (ns *namespace) Init(*gofuse.Server) {}
func (ns *namespace) String() string      { return "truesize" }

func (ns *namespace) StatFs(_ <-chan struct{}, _ *gofuse.InHeader, out *gofuse.StatfsOut) gofuse.Status {
	out.Bsize, out.Frsize, out.NameLen = pageSize, pageSize, 255
	return gofuse.OK
}

// entry fills in what the kernel is told of a name in a directory.
func (s *Server) entry(dir uint64, name string, out *gofuse.EntryOut) syscall.Errno {
	id, errno := s.resolve(dir, name)
	if errno != 0 {
		return errno
	}
	if id == 0 { // known not to exist
		out.SetEntryTimeout(negativeTTL)
		return 0
	}
	fresh, errno := s.attr(id, time.Now(), &out.Attr)
	if errno != 0 {
		return errno
	}
	out.NodeId, out.Generation = id, generation
	out.SetEntryTimeout(staticFor)
	out.SetAttrTimeout(fresh)
	return 0
}

// resolve returns the node id of name in a directory, or 0 where the kernel
// may remember that there is none: not of a container, which may be
// registered the next moment.
func (s *Server) resolve(dir uint64, name string) (uint64, syscall.Errno) {
	switch dir {
	case rootID:
		if name == serviceDir {
			return serviceDirID, 0
		}
		ct := s.byName(name)
		if ct == nil {
			return 0, syscall.ENOENT
		}
		return nodeID(ct.hash, s.opts.Tree.root.index), 0
	case serviceDirID:
		if name == versionFile {
			return versionID, 0
		}
		return 0, 0
	}
	ct, n, e := s.lookupNode(dir)
	switch {
	case e == nil:
		return 0, syscall.ESTALE
	case n != nil:
		return 0, syscall.ENOTDIR
	}
	child := e.child(name)
	if child == nil {
		return 0, 0
	}
	return nodeID(ct.hash, child.index), 0
}

const (
	serviceDir  = ".truesize"
	versionFile = "version"
)

func (ns *namespace) ReadDir(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	switch in.NodeId {
	case rootID:
		ns.s.listTop(in.Offset, out)
		return gofuse.OK
	case serviceDirID:
		addEntries(in.Offset, out, serviceDirID, rootID, []gofuse.DirEntry{
			{Name: versionFile, Ino: inodeNumber(versionID), Mode: syscall.S_IFREG},
		})
		return gofuse.OK
	}
	ct, n, e := ns.s.lookupNode(in.NodeId)
	switch {
	case e == nil:
		return gofuse.Status(syscall.ESTALE)
	case n != nil:
		return gofuse.ENOTDIR
	}
	list := make([]gofuse.DirEntry, len(e.children))
	for i, c := range e.children {
		list[i] = gofuse.DirEntry{Name: c.name, Ino: inodeNumber(nodeID(ct.hash, c.index)), Mode: syscall.S_IFREG}
		if c.isDir() {
			list[i].Mode = syscall.S_IFDIR
		}
	}
	parent := uint64(rootID)
	if e.parent != nil {
		parent = nodeID(ct.hash, e.parent.index)
	}
	addEntries(in.Offset, out, in.NodeId, parent, list)
	return gofuse.OK
}

// addEntries lists a directory that does not change, from offset off on.
func addEntries(off uint64, out *gofuse.DirEntryList, self, parent uint64, list []gofuse.DirEntry) {
	all := append(dots(self, parent), list...)
	for i := off; i < uint64(len(all)); i++ {
		all[i].Off = i + 1
		if !out.AddDirEntry(all[i]) {
			return
		}
	}
}

func dots(self, parent uint64) []gofuse.DirEntry {
	return []gofuse.DirEntry{
		{Name: ".", Ino: inodeNumber(self), Mode: syscall.S_IFDIR},
		{Name: "..", Ino: inodeNumber(parent), Mode: syscall.S_IFDIR},
	}
}

// listTop lists the root. Its containers come and go while it is read: they
// are in the order of their hashes, and an entry's offset is its hash, past
// the fixed entries, so that none is missed or seen twice.
func (s *Server) listTop(off uint64, out *gofuse.DirEntryList) {
	fixed := append(dots(rootID, rootID), gofuse.DirEntry{Name: serviceDir, Ino: serviceDirID, Mode: syscall.S_IFDIR})
	for i := off; i < uint64(len(fixed)); i++ {
		fixed[i].Off = i + 1
		if !out.AddDirEntry(fixed[i]) {
			return
		}
	}
	base := uint64(len(fixed))
	for _, ct := range s.listing() {
		if ct.hash+base <= off {
			continue
		}
		id := nodeID(ct.hash, s.opts.Tree.root.index)
		if !out.AddDirEntry(gofuse.DirEntry{Name: ct.id, Ino: inodeNumber(id), Mode: syscall.S_IFDIR, Off: ct.hash + base}) {
			return
		}
	}
}
