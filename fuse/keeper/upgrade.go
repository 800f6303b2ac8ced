package keeper

import (
	"errors"
	"fmt"

	"github.com/truesize/truesize/fuse/kept"
)

// upgrade starts a server from another binary beside the one that runs. It is
// loaded and has read the registry before the old one is killed; what that
// one was at, it answers. A binary that does not come up changes nothing.
func (k *Keeper) upgrade(r *request) {
	if k.next != nil {
		k.reply(r, errors.New("another upgrade is under way"))
		return
	}
	argv := append([]string{r.Binary}, k.opts.Server[1:]...)
	c, err := k.startServer(argv, k.opts.Stderr)
	if err != nil {
		k.Memory.Count(kept.UpgradesRefused)
		k.reply(r, err)
		return
	}
	k.next, k.asked = c, r
}

// onNextReady puts the new server into the place of the old one.
func (k *Keeper) onNextReady(line string) {
	n, r := k.next, k.asked
	k.next, k.asked = nil, nil
	k.opts.Server[0] = n.binary
	k.dropSpare()
	old := k.server
	k.server = nil
	if old != nil {
		old.kill()
		if !old.isDead(dieWithin) {
			k.opts.Log.Error("the old server does not end", "pid", old.pid)
		}
		old.close()
	}
	k.Memory.Count(kept.Starts)
	k.Memory.Count(kept.Upgrades)
	k.failures, k.pause = 0, 0
	k.server = n
	k.onReady(line)
	k.reply(r, nil)
}

// refuseNext gives up a new server that does not come up.
func (k *Keeper) refuseNext(err error) {
	n, r := k.next, k.asked
	k.next, k.asked = nil, nil
	n.kill()
	n.close()
	k.Memory.Count(kept.UpgradesRefused)
	k.opts.Log.Error("upgrade refused: the old server stays", "error", err)
	k.reply(r, fmt.Errorf("%w: see its log; the old server stays", err))
}
