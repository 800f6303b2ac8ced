package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/truesize/truesize/pkg/registry"
)

// Readers that do not pause take turns: each peer's for turn, after warmUp
// that is not timed. A turn is long enough for the scheduler to let each of
// eight threads run on two CPUs more than once, and so short that the machine
// is the same for the peers of a round.
const (
	turn   = 40 * time.Millisecond
	warmUp = 10 * time.Millisecond
)

// A hot is what readers that do not pause found, by peer and file.
type hot struct {
	latencies [][]latency
	serverCPU [][]time.Duration // per 100,000 reads
	// toKernel is the view's median to the kernel's of the same round.
	toKernel []spread // by file
}

// A spread is what the rounds say of a ratio.
type spread struct{ low, median, high float64 } // quartiles

func spreadOf(rs []float64) spread {
	slices.Sort(rs)
	return spread{rs[len(rs)/4], rs[len(rs)/2], rs[len(rs)*3/4]}
}

func (s spread) String() string { return fmt.Sprintf("%.2f–%.2f×", s.low, s.high) }

// orders are those in which three peers may take their turns: each follows
// each of the others as often.
var orders = [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {0, 2, 1}, {2, 0, 1}, {1, 0, 2}}

// A hotCase is readers that do not pause.
type hotCase struct {
	title      string
	containers int // with a process of readers in each
	readers    int // in a process
}

var hotCases = []hotCase{
	{"1 reader", 1, 1},
	{"8 readers in one container", 1, mostReaders},
	{"8 containers with a reader in each", mostContainers, 1},
}

const mostContainers = 8

// withoutPause measures readers that read as fast as they can, file by file. Each
// peer has the same processes for all of its turns.
func (b *bench) withoutPause(reg *registry.Dir, peers ...*server) error {
	for n := range mostContainers {
		if err := b.container(reg, hotID(n)); err != nil {
			return err
		}
	}
	for _, c := range hotCases {
		h, err := b.hotCase(c, peers)
		if err != nil {
			return err
		}
		b.hot = append(b.hot, h)
	}
	return nil
}

func hotID(n int) string { return "hot" + strconv.Itoa(n) }

func (b *bench) hotCase(c hotCase, peers []*server) (h hot, err error) {
	groups := make([]readers, len(peers))
	defer func() {
		for _, g := range groups {
			g.close()
		}
	}()
	for n := range c.containers {
		for i, p := range peers {
			r, err := b.startReader(p, hotID(n), hotID(n))
			if err != nil {
				return h, err
			}
			groups[i] = append(groups[i], r)
		}
	}
	h = hot{latencies: make([][]latency, len(peers)), serverCPU: make([][]time.Duration, len(peers))}
	for _, f := range files {
		fmt.Fprintf(b.stdout, "reading %s: %s\n", f, c.title)
		t := task{Files: []string{f}, Readers: c.readers, Warm: warmUp, For: turn}
		if err := b.turns(&h, t, peers, groups); err != nil {
			return h, err
		}
	}
	return h, nil
}

// turns has the peers do a task in rounds, and adds what they found to h.
func (b *bench) turns(h *hot, t task, peers []*server, groups []readers) error {
	all, cpu, ratios := make([]reading, len(peers)), make([]time.Duration, len(peers)), []float64(nil)
	for round := range b.rounds {
		medians := make([]time.Duration, len(peers))
		for _, i := range orders[round%len(orders)] {
			before, err := b.serverCPU(peers[i])
			if err != nil {
				return err
			}
			found, err := groups[i].do(t)
			if err != nil {
				return err
			}
			after, err := b.serverCPU(peers[i])
			if err != nil {
				return err
			}
			cpu[i] += after - before
			all[i].Reads += found.Reads
			all[i].Took = append(all[i].Took, found.Took...)
			medians[i] = summarize(t.Files[0], found.Took).P50
		}
		ratios = append(ratios, float64(medians[len(peers)-1])/float64(medians[0]))
	}
	for i := range peers {
		h.latencies[i] = append(h.latencies[i], summarize(t.Files[0], all[i].Took))
		h.serverCPU[i] = append(h.serverCPU[i], cpu[i]*100000/time.Duration(all[i].Reads))
	}
	h.toKernel = append(h.toKernel, spreadOf(ratios))
	return nil
}
