package fuse

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"syscall"
	"time"
	"unsafe"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// Opcodes of the protocol, include/uapi/linux/fuse.h.
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opRead        = 15
	opStatfs      = 17
	opInit        = 26
	opReaddir     = 28
	opDestroy     = 38
	opBatchForget = 42

	opcodes = 64 // more than there are; the rest is counted as the last
)

const (
	// maxPayload is the largest READ and the largest write the kernel may
	// send, in bytes.
	maxPayload = 128 << 10
	inSize     = maxPayload + 4096
	outSize    = maxPayload + 4096
	headerIn   = int(unsafe.Sizeof(gofuse.InHeader{}))
	headerOut  = int(unsafe.Sizeof(gofuse.OutHeader{}))
)

// refusals are the answers to the requests that the view has no use for.
// ENOSYS makes the kernel not ask again and do what it would without the
// operation: open and close files, check permissions by their mode, let a
// request that is interrupted be answered (soon, as all are). Those missing
// here are ENOSYS too.
var refusals = [opcodes]syscall.Errno{
	4:  syscall.EROFS,  // SETATTR
	5:  syscall.EINVAL, // READLINK
	6:  syscall.EROFS,  // SYMLINK
	8:  syscall.EROFS,  // MKNOD
	9:  syscall.EROFS,  // MKDIR
	10: syscall.EROFS,  // UNLINK
	11: syscall.EROFS,  // RMDIR
	12: syscall.EROFS,  // RENAME
	13: syscall.EROFS,  // LINK
	16: syscall.EROFS,  // WRITE
	35: syscall.EROFS,  // CREATE
	39: syscall.ENOTTY, // IOCTL
	43: syscall.EROFS,  // FALLOCATE
	45: syscall.EROFS,  // RENAME2
	51: syscall.EROFS,  // TMPFILE
}

// handle answers the request in in, writing the reply into out. It returns
// the reply's length, 0 when there is to be none. Both are 8-byte aligned and
// of the sizes above; in is cut to the request. It never panics.
func (s *Server) handle(in, out []byte) (n int) {
	if len(in) < headerIn {
		s.stats.malformed.Add(1)
		return 0
	}
	h := (*gofuse.InHeader)(unsafe.Pointer(&in[0]))
	defer func() {
		if v := recover(); v != nil {
			s.recovered(v)
			n = reply(out, h.Unique, syscall.EIO)
		}
	}()
	s.stats.request(h.Opcode)
	switch h.Opcode {
	case opGetattr:
		return s.getattr(h, out)
	case opRead:
		if len(in) < int(unsafe.Sizeof(gofuse.ReadIn{})) {
			break
		}
		return s.read((*gofuse.ReadIn)(unsafe.Pointer(h)), out)
	case opLookup:
		return s.lookup(h, in[headerIn:], out)
	case opForget, opBatchForget:
		return 0 // nothing is counted, so nothing is forgotten
	case opReaddir:
		if len(in) < int(unsafe.Sizeof(gofuse.ReadIn{})) {
			break
		}
		fallthrough
	case opStatfs, opInit, opDestroy:
		n, status := s.proto.HandleRequest([][]byte{in}, [][]byte{out})
		if n > 0 {
			return n
		}
		if status == gofuse.OK {
			return 0
		}
	default:
		return reply(out, h.Unique, refusal(h.Opcode))
	}
	s.stats.malformed.Add(1)
	return reply(out, h.Unique, syscall.EIO)
}

func refusal(opcode uint32) syscall.Errno {
	if opcode < opcodes && refusals[opcode] != 0 {
		return refusals[opcode]
	}
	return syscall.ENOSYS
}

func (s *Server) getattr(h *gofuse.InHeader, out []byte) int {
	a := (*gofuse.AttrOut)(unsafe.Pointer(&out[headerOut]))
	*a = gofuse.AttrOut{}
	fresh, errno := s.attr(h.NodeId, time.Now(), &a.Attr)
	if errno != 0 {
		return reply(out, h.Unique, errno)
	}
	a.SetTimeout(fresh)
	return replyData(out, h.Unique, int(unsafe.Sizeof(*a)))
}

// lookup is here and not in go-fuse because that keeps a name in the root for
// itself.
func (s *Server) lookup(h *gofuse.InHeader, payload, out []byte) int {
	name, _, ok := bytes.Cut(payload, []byte{0})
	if !ok {
		s.stats.malformed.Add(1)
		return reply(out, h.Unique, syscall.EINVAL)
	}
	e := (*gofuse.EntryOut)(unsafe.Pointer(&out[headerOut]))
	*e = gofuse.EntryOut{}
	if errno := s.entry(h.NodeId, string(name), e); errno != 0 {
		return reply(out, h.Unique, errno)
	}
	return replyData(out, h.Unique, int(unsafe.Sizeof(*e)))
}

func (s *Server) read(in *gofuse.ReadIn, out []byte) int {
	n := &s.service
	if in.NodeId != versionID {
		var (
			ct *container
			e  *entry
		)
		ct, n, e = s.lookupNode(in.NodeId)
		switch {
		case e == nil:
			s.stats.staleNodes.Add(1)
			return reply(out, in.Unique, syscall.ESTALE)
		case n == nil:
			return reply(out, in.Unique, syscall.EISDIR)
		case n.unstarted.Load():
			s.begun(ct, n, in.Offset)
		}
	}
	size := min(int(in.Size), len(out)-headerOut)
	direct := in.Flags&syscall.O_DIRECT != 0
	copied, ok := n.read(out[headerOut:headerOut+size], in.Offset, direct)
	if !ok { // a predecessor reported the size: its snapshot went with it
		if _, err := n.snapshot(time.Now()); err == errRemoved {
			return reply(out, in.Unique, syscall.ESTALE)
		}
		if copied, ok = n.read(out[headerOut:headerOut+size], in.Offset, direct); !ok {
			return reply(out, in.Unique, syscall.EIO)
		}
	}
	return replyData(out, in.Unique, copied)
}

// reply writes a reply of an error only.
func reply(out []byte, unique uint64, errno syscall.Errno) int {
	*(*gofuse.OutHeader)(unsafe.Pointer(&out[0])) = gofuse.OutHeader{
		Length: uint32(headerOut), Status: -int32(errno), Unique: unique,
	}
	return headerOut
}

// replyData writes the header of a reply of n bytes that are in place.
func replyData(out []byte, unique uint64, n int) int {
	*(*gofuse.OutHeader)(unsafe.Pointer(&out[0])) = gofuse.OutHeader{Length: uint32(headerOut + n), Unique: unique}
	return headerOut + n
}

func (s *Server) recovered(v any) gofuse.Status {
	s.stats.panics.Add(1)
	if s.opts.Panicked != nil {
		s.opts.Panicked(fmt.Sprint(v), debug.Stack())
	}
	return gofuse.EIO
}
