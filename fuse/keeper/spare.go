package keeper

import (
	"time"

	"github.com/truesize/truesize/fuse/kept"
)

// A spare is a server that is started, loaded, and waits to be told to serve.
// It makes the time that readers wait when the server dies that of a message:
// to start a process may take long on a node whose processors are busy.
type spare struct {
	*child
	line  string    // what it said when it was ready, empty before
	after time.Time // not to start one before
}

const (
	spareAfter = 100 * time.Millisecond // of a server's service
	spareRetry = 5 * time.Second        // after one that ended
)

// keepSpare starts a spare, once the server has settled.
func (k *Keeper) keepSpare(now time.Time) {
	if k.spare.child != nil || k.next != nil || k.server == nil || k.server.serve.IsZero() {
		return
	}
	if now.Before(k.spare.after) || now.Sub(k.server.serve) < spareAfter {
		return
	}
	c, err := k.startServer(k.opts.Server, k.opts.Stderr)
	if err != nil {
		k.spare.after = now.Add(spareRetry)
		k.opts.Log.Warn("no server to spare", "error", err)
		return
	}
	k.spare = spare{child: c}
}

// onSpareDeath notes that the spare has ended. It is not needed, and tried
// again later.
func (k *Keeper) onSpareDeath() {
	k.opts.Log.Warn("the spare server ended", "pid", k.spare.pid)
	k.spare.close()
	k.spare = spare{after: time.Now().Add(spareRetry)}
}

// useSpare lets the spare serve. It reports whether there was one.
func (k *Keeper) useSpare() bool {
	s := k.spare
	if s.child == nil || s.line == "" {
		return false
	}
	k.spare = spare{}
	k.server = s.child
	k.Memory.Count(kept.Starts)
	k.onReady(s.line)
	return true
}

// dropSpare ends the spare: it is of the wrong version or connection now.
func (k *Keeper) dropSpare() {
	if k.spare.child != nil {
		k.spare.kill()
		k.spare.close()
	}
	k.spare = spare{}
}
