package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/kept"
	"github.com/truesize/truesize/pkg/version"
	"golang.org/x/sys/unix"
)

// Times of the keeper. The sum of those on any path from a server that stops
// answering to an answer stays below two seconds, which is what a reader may
// have to wait at most.
const (
	tick       = 100 * time.Millisecond
	silentFor  = 700 * time.Millisecond // without a heartbeat: the server stands still
	hangAfter  = time.Second            // at one request: so it does, too
	dieWithin  = 300 * time.Millisecond // of a server that was killed
	readySoon  = 100 * time.Millisecond // of a new server, before the keeper answers
	readyLast  = 30 * time.Second       // of a new server, before it is given up
	shortLife  = 50 * time.Millisecond  // of a server that died of what it began with
	firstPause = 100 * time.Millisecond // between servers that do not come up
	lastPause  = 2 * time.Second
)

// Options are what a [Keeper] is made of.
type Options struct {
	// Server is the command line of a server: the binary, and its arguments
	// but for [ServerArg].
	Server []string
	// Socket is the path of the control socket.
	Socket string
	// Fallback makes what answers while there is no server.
	Fallback func(*kept.Memory) (*fuse.Fallback, error)
	// Stderr is the server's.
	Stderr io.Writer
	Log    *slog.Logger
}

// ErrConnection says that the FUSE connection has ended: it was aborted, or
// its last mount is gone.
var ErrConnection = errors.New("the view's FUSE connection has ended")

// A Keeper runs the view's server. One goroutine, in Run, does everything but
// wait.
type Keeper struct {
	Holdings
	opts Options

	server   *child   // nil between two
	spare    spare    // that takes its place when it dies
	next     *child   // that is to take its place
	asked    *request // that wants it to
	pause    time.Duration
	retry    time.Time // not to start a server before
	failures int       // servers in a row that did not come up
	brief    int       // servers in a row that did not live long
	suspects map[uint64]bool

	watch    watch
	standIn  *standIn // answers while no server does
	requests chan *request
	handover bool // the server belongs to another keeper now
}

// New returns a keeper of what it is given, the running server included, which
// is nil at first.
func New(h Holdings, running *child, o Options) *Keeper {
	return &Keeper{Holdings: h, opts: o, server: running, requests: make(chan *request), suspects: make(map[uint64]bool)}
}

// Run keeps a server running until ctx ends; then the server is killed. It
// returns true when another keeper has taken over, and nothing is to be
// cleaned up.
func (k *Keeper) Run(ctx context.Context) (handedOver bool, err error) {
	control, err := k.listen()
	if err != nil {
		return false, err
	}
	defer control.Close()
	if k.server != nil {
		k.opts.Log.Info("adopted a running server", "pid", k.server.pid)
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	k.watch.reset(time.Now(), k.Memory)
	k.Memory.Unclaim()
	for !k.handover {
		if k.server == nil && connectionEnded(k.Fuse) {
			k.stop()
			return false, ErrConnection
		}
		if k.server == nil && !time.Now().Before(k.retry) {
			k.start()
		}
		select {
		case <-ctx.Done():
			k.stop()
			return false, nil
		case r := <-k.requests:
			k.obey(r)
		case <-k.server.died():
			k.onDeath()
		case <-k.spare.died():
			k.onSpareDeath()
		case line := <-k.spare.readiness():
			k.spare.line = line
		case <-k.next.died():
			k.refuseNext(fmt.Errorf("the new server %s ended before it was ready", k.next.binary))
		case line := <-k.server.readiness():
			k.onReady(line)
		case line := <-k.next.readiness():
			k.onNextReady(line)
		case now := <-ticker.C:
			k.check(now)
		}
	}
	k.answerStop()
	k.dropSpare()
	return true, nil
}

// Renew gives the keeper a new connection, after [ErrConnection].
func (k *Keeper) Renew(fd int) {
	unix.Close(k.Fuse)
	k.Fuse, k.server, k.next = fd, nil, nil
	k.Memory.NewConnection()
	k.retry, k.pause, k.failures, k.brief = time.Time{}, 0, 0, 0
}

// connectionEnded reports whether /dev/fuse has nothing to tell any more.
func connectionEnded(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
}

// died returns a channel that is closed when the server has ended.
func (c *child) died() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.dead
}

// readiness returns a channel on which the server says that it is ready, once.
func (c *child) readiness() <-chan string {
	if c == nil || !c.serve.IsZero() {
		return nil
	}
	return c.ready
}

// start starts a server.
func (k *Keeper) start() {
	c, err := k.startServer(k.opts.Server, k.opts.Stderr)
	if err != nil {
		k.failed(err)
		return
	}
	k.Memory.Count(kept.Starts)
	k.server = c
}

// failed notes that a server did not come up: the keeper answers, and waits
// longer each time before the next.
func (k *Keeper) failed(err error) {
	if k.failures++; k.failures > 1 {
		k.pause = min(max(2*k.pause, firstPause), lastPause)
	}
	k.retry = time.Now().Add(k.pause)
	k.opts.Log.Error("no server: the keeper answers from the last snapshots", "error", err, "failures", k.failures, "retry", k.pause.String())
	k.answerStart()
}

// onReady lets a server that is ready serve.
func (k *Keeper) onReady(line string) {
	k.answerStop()
	if err := k.server.goServe(); err != nil {
		return
	}
	k.watch.reset(time.Now(), k.Memory)
	k.opts.Log.Info("server started", "pid", k.server.pid, "server", line, "keeper", version.Get().Version, "after", time.Since(k.server.started).String())
}

// onDeath is called when the server has ended, or given up its link.
func (k *Keeper) onDeath() {
	c := k.server
	k.server = nil
	c.kill()
	c.close()
	k.Memory.Count(kept.Deaths)
	if c.serve.IsZero() {
		k.failed(fmt.Errorf("the server %s (pid %d) ended before it was ready", c.binary, c.pid))
		return
	}
	lived := time.Since(c.serve)
	k.opts.Log.Warn("the server ended", "pid", c.pid, "served", lived.Round(time.Microsecond).String())
	k.answerSuspects()
	if k.brief++; lived > shortLife {
		k.brief, k.failures, k.pause = 0, 0, 0
	}
	if k.brief >= 3 {
		k.failed(fmt.Errorf("%d servers in a row ended within %v", k.brief, shortLife))
		return
	}
	if !connectionEnded(k.Fuse) && !k.useSpare() {
		k.start()
	}
}

// answerSuspects answers the requests at which two servers in a row have died,
// and remembers those that the last one was at.
func (k *Keeper) answerSuspects() {
	now, again := make(map[uint64]bool), make(map[uint64]bool)
	for i := range kept.Slots {
		switch u := k.Memory.Slot(i).Unique(); {
		case u == 0:
		case k.suspects[u]:
			again[u] = true
		default:
			now[u] = true
		}
	}
	k.suspects = now
	if len(again) == 0 {
		return
	}
	k.opts.Log.Error("two servers ended at the same request: the keeper answers it", "requests", len(again))
	k.answerSlots(func(unique uint64) bool { return again[unique] })
}

// check looks after what tells nothing by itself.
func (k *Keeper) check(now time.Time) {
	late := k.watch.tick(now)
	k.keepSpare(now)
	c := k.server
	if c == nil || late {
		return
	}
	switch age := now.Sub(c.started); {
	case !c.serve.IsZero():
		if why := k.watch.hangs(now, k.Memory); why != "" {
			k.replaceHung(why)
		}
	case age > readyLast:
		k.opts.Log.Error("the new server does not get ready: killed", "pid", c.pid)
		c.kill()
	case age > readySoon:
		k.answerStart()
	}
	if n := k.next; n != nil && now.Sub(n.started) > readyLast {
		k.refuseNext(fmt.Errorf("the new server %s was not ready after %v", n.binary, readyLast))
	}
}

// replaceHung kills a server that stands still. Its death is seen like any
// other; the keeper answers until the next is ready.
func (k *Keeper) replaceHung(why string) {
	k.Memory.Count(kept.Hangs)
	k.opts.Log.Error("the server stands still: killed", "pid", k.server.pid, "why", why)
	k.server.kill()
	k.server.isDead(dieWithin)
	k.answerStart() // readers have waited long enough
	k.watch.reset(time.Now(), k.Memory)
}

// stop kills the server, at the end.
func (k *Keeper) stop() {
	k.Memory.Claim(os.Getpid()) // no server that is left over goes on
	k.answerStop()
	k.dropSpare()
	for _, c := range []*child{k.next, k.server} {
		if c != nil {
			c.kill()
			c.exited(dieWithin) // its cgroup may be removed next
			c.close()
		}
	}
}
