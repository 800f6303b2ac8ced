package host

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/test/reads"
)

// Servers and keepers of the view are killed at any moment while containers are
// created: none fails, and every one has its view.
func TestCreateWhileViewIsKilled(t *testing.T) {
	if err := node.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.KillAgent)
	answers(t)
	r := readPods(t, 1, 2)
	kills := make(chan []int64)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { kills <- killView(ctx) }()
	later, longest := 0, time.Duration(0)
	rounds := scaled(12, 300)
	for range rounds {
		spec := small()
		begin := time.Now()
		c, err := node.Run(t.Context(), spec)
		if err != nil {
			t.Errorf("a creation: %v", err)
			break
		}
		longest = max(longest, time.Since(begin))
		if !sized(t, c, spec) {
			later++
			await(t, "view of a container for which there was no server", func() bool { return sized(t, c, spec) })
		}
		removePod(t, c)
	}
	stop()
	at := <-kills
	if len(at) == 0 {
		t.Error("nothing was killed")
	}
	answers(t)
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, at, fmt.Sprintf("%d containers created, the longest in %v; %d had their view a moment later",
		rounds, longest.Round(time.Millisecond), later))
}

// killView kills the server, its keeper, or both, by turns, until ctx ends, and
// returns when. There is a spare server each time, which is left alone.
func killView(ctx context.Context) (at []int64) {
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return at
		case <-time.After(time.Duration(50+rand.IntN(300)) * time.Millisecond):
		}
		st, err := keeper.Ask(filepath.Join(node.RunDir(), "keeper.sock"), keeper.Request{Op: keeper.OpStatus})
		if err != nil || !st.Serving || st.SparePID == 0 {
			continue
		}
		at = append(at, reads.Now())
		if turn%3 != 1 {
			_ = syscall.Kill(st.ServerPID, syscall.SIGKILL)
		}
		if turn%3 != 0 {
			_ = syscall.Kill(st.KeeperPID, syscall.SIGKILL)
		}
	}
}
