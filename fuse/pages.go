package fuse

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A pager puts snapshots into the kernel's page cache before they are asked
// for, which saves the first reader after the freshness bound one of two round
// trips, on an idle machine half of its time:
//
//   - when the bound of a snapshot is over, its pages are dropped, so that the
//     kernel holds none of the file;
//   - the next GETATTR renders a snapshot, stores it in the cache
//     (FUSE_NOTIFY_STORE), and is answered with the mtime of the one before,
//     so that the kernel keeps what was just stored.
//
// A store goes into an empty place only: over a page that is there, it would
// change it under its readers. Where the server is not certain of that
// (node.clear), nothing is stored and the mtime changes, as without a pager;
// the kernel then drops its pages and sends READ. Nothing depends on a store.
type pager struct {
	fd    int
	on    atomic.Bool
	stats *stats

	// spare is the number of threads that may wait in a store: for a page
	// whose READ is yet to be answered, by the one thread that is left.
	spare atomic.Int32

	mu     sync.Mutex
	active []*node // whose pages are to be dropped
	wake   chan struct{}
}

// sweepEvery is how often expired snapshots are looked for, while there are
// any. A reader that comes later than that after the bound saves a round trip.
const sweepEvery = 20 * time.Millisecond

const notifyStore = 4

// storeSafe says whether the kernel zeroes what is beyond the end of a file in
// a page that is stored. Before Linux 6.11 (and fixes in stable kernels, which
// cannot be told apart) it showed there what the memory held before.
func storeSafe(major, minor int) bool { return major > 6 || major == 6 && minor >= 11 }

// start turns the pager on where the kernel allows it.
func (p *pager) start(ctx context.Context, fd, threads int) {
	if !storeSafe(kernelVersion()) {
		return
	}
	p.fd = fd
	p.spare.Store(int32(threads) - 1)
	p.on.Store(true)
	go p.sweep(ctx)
}

// store puts data into the cache as the whole content of the node. It returns
// whether the kernel took it.
func (p *pager) store(id uint64, data []byte) bool {
	if p.spare.Add(-1) < 0 {
		p.spare.Add(1)
		return false
	}
	defer p.spare.Add(1)
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	const fixed = headerOut + int(unsafe.Sizeof(gofuse.NotifyStoreOut{}))
	msg := append(append((*buf)[:0], make([]byte, fixed)...), data...)
	*buf = msg[:0]
	*(*gofuse.OutHeader)(unsafe.Pointer(&msg[0])) = gofuse.OutHeader{Length: uint32(len(msg)), Status: notifyStore}
	*(*gofuse.NotifyStoreOut)(unsafe.Pointer(&msg[headerOut])) = gofuse.NotifyStoreOut{Nodeid: id, Size: uint32(len(data))}
	if _, err := unix.Write(p.fd, msg); err != nil {
		return false // the kernel does not know the node, or has no memory
	}
	p.stats.stores.Add(1)
	return true
}

// watch has the node's pages dropped when its snapshot is over.
func (p *pager) watch(n *node) {
	p.mu.Lock()
	p.active = append(p.active, n)
	first := len(p.active) == 1
	p.mu.Unlock()
	if first {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// sweep drops the pages of snapshots that are over. The kernel may wait for a
// READ here, so it serves no requests.
func (p *pager) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		for p.round(time.Now()) {
			time.Sleep(sweepEvery)
		}
	}
}

// round drops what is over at now. It returns whether something is left.
func (p *pager) round(now time.Time) (more bool) {
	p.mu.Lock()
	list := p.active
	p.active = nil
	p.mu.Unlock()
	var rest []*node
	for _, n := range list {
		if !n.over(now) {
			rest = append(rest, n)
			continue
		}
		_, err := unix.Write(p.fd, notice{node: n.id}.message())
		n.dropped(err == nil)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = append(p.active, rest...)
	return len(p.active) > 0
}

func kernelVersion() (major, minor int) {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return 0, 0
	}
	return parseRelease(u.Release[:])
}

// parseRelease reads the first two numbers of "6.18.44-arch".
func parseRelease(release []byte) (major, minor int) {
	n := [2]int{}
	i := 0
	for _, c := range release {
		switch {
		case c >= '0' && c <= '9' && n[i] < 1000:
			n[i] = n[i]*10 + int(c-'0')
		case c == '.' && i == 0:
			i = 1
		default:
			return n[0], n[1]
		}
	}
	return n[0], n[1]
}
