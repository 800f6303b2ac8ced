package host

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/truesize/truesize/test/reads"
)

// containerd is killed and started again while containers read.
func TestContainerdKilled(t *testing.T) {
	startAgentPod(t, bin(t))
	before := status(t)
	r := readPods(t, 2, 4)
	var kills []int64
	for range scaled(2, 50) {
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		kills = append(kills, reads.Now())
		node.KillContainerd()
		answers(t)
		if err := node.StartContainerd(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	awaitAgent(t)
	spec := small()
	await(t, "sized container", func() bool { // the agent registers again
		c := startPod(t, spec)
		defer removePod(t, c)
		return sized(t, c, spec)
	})
	if after := status(t); after.KeeperPID != before.KeeperPID || after.ServerPID != before.ServerPID {
		t.Errorf("before %+v, after %+v", before, after)
	}
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, kills, "")
}

// The agent is killed at any moment while containers are created: none fails.
// Those that were created without it get their view when it is back.
func TestAgentKilled(t *testing.T) {
	if err := node.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.KillAgent)
	r := readPods(t, 2, 4)
	type creation struct {
		took time.Duration
		err  error
	}
	var created []creation
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			begin := time.Now()
			c, err := node.Run(t.Context(), small())
			took := time.Since(begin)
			if err == nil {
				err = c.Remove(t.Context())
			}
			created = append(created, creation{took, err})
			if err != nil {
				return // one is enough to tell
			}
		}
	}()
	var kills []int64
	missed := 0
	for i := range scaled(4, 200) {
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		kills = append(kills, reads.Now())
		node.KillAgent()
		spec := small()
		if i%4 != 0 {
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			if err := node.StartAgent(t.Context()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		c := startPod(t, spec)
		without := !sized(t, c, spec)
		if err := node.StartAgent(t.Context()); err != nil {
			t.Fatal(err)
		}
		if without {
			missed++
		}
		await(t, "view of a container that was created without the agent", func() bool { return sized(t, c, spec) })
		removePod(t, c)
	}
	stop()
	<-done
	failed := slices.DeleteFunc(slices.Clone(created), func(c creation) bool { return c.err == nil })
	for _, c := range failed {
		t.Errorf("a creation: %v", c.err)
	}
	if missed == 0 {
		t.Error("no container was created without the agent")
	}
	longest := slices.MaxFunc(created, func(a, b creation) int { return int(a.took - b.took) })
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, kills, fmt.Sprintf("%d containers created, %d failed, the longest in %v; %d created without the agent and attached after",
		len(created), len(failed), longest.took.Round(time.Millisecond), missed))
}
