package fuse

import (
	"context"
	"sync"
	"unsafe"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Notification codes of the protocol.
const (
	notifyInvalInode = 2
	notifyInvalEntry = 3
)

// A notifier tells the kernel what it must forget. It has a goroutine of its
// own: the kernel may wait, inside the write, for a page or a directory that
// is locked by a request, and the thread that is to answer that request must
// not be the one that waits.
type notifier struct {
	mu      sync.Mutex
	pending []notice
	wake    chan struct{}
}

// A notice names an inode, or with a name the entry of a directory.
type notice struct {
	node uint64
	name string
	// pages says that the kernel must not only ask for the inode's attributes,
	// but drop its pages too, whatever these then are.
	pages bool
}

func (q *notifier) inode(id uint64)               { q.add(notice{node: id, pages: true}) }
func (q *notifier) attributes(id uint64)          { q.add(notice{node: id}) }
func (q *notifier) entry(dir uint64, name string) { q.add(notice{node: dir, name: name}) }

func (q *notifier) add(n notice) {
	q.mu.Lock()
	q.pending = append(q.pending, n)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *notifier) take() []notice {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.pending
	q.pending = nil
	return list
}

func (q *notifier) run(ctx context.Context, fd int, stats *stats) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		for _, n := range q.take() {
			_, err := unix.Write(fd, n.message())
			switch err {
			case nil:
				stats.invalidations.Add(1)
			case unix.ENOENT: // the kernel does not know it
			case unix.ENODEV, unix.EBADF:
				return
			default:
				stats.writeErrors.Add(1)
			}
		}
	}
}

// message encodes the notification.
func (n notice) message() []byte {
	const inodeOut, entryOut = int(unsafe.Sizeof(gofuse.NotifyInvalInodeOut{})), int(unsafe.Sizeof(gofuse.NotifyInvalEntryOut{}))
	b := aligned(headerOut + max(inodeOut, entryOut+len(n.name)+1))
	body := unsafe.Pointer(&b[headerOut])
	code := int32(notifyInvalInode)
	if n.name == "" {
		out := gofuse.NotifyInvalInodeOut{Ino: n.node} // all pages: from 0 on, to the end
		if !n.pages {
			out.Off = -1 // none (fs/fuse/inode.c, fuse_reverse_inval_inode)
		}
		*(*gofuse.NotifyInvalInodeOut)(body) = out
	} else {
		code = notifyInvalEntry
		*(*gofuse.NotifyInvalEntryOut)(body) = gofuse.NotifyInvalEntryOut{Parent: n.node, NameLen: uint32(len(n.name))}
		copy(b[headerOut+entryOut:], n.name)
		b = b[:headerOut+entryOut+len(n.name)+1]
	}
	*(*gofuse.OutHeader)(unsafe.Pointer(&b[0])) = gofuse.OutHeader{Length: uint32(len(b)), Status: code}
	return b
}
