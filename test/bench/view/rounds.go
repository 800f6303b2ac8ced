package main

import (
	"fmt"
	"slices"
	"time"
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

// withoutPause measures readers that read as fast as they can, by their number
// and file by file. Each peer has one process for all of its turns.
func (b *bench) withoutPause(id string, peers ...*server) error {
	var rs readers
	defer func() { rs.close() }()
	for _, p := range peers {
		r, err := b.startReader(p, id, "container")
		if err != nil {
			return err
		}
		rs = append(rs, r)
	}
	b.hot = map[int]hot{}
	for _, n := range readerCounts {
		h := hot{latencies: make([][]latency, len(peers)), serverCPU: make([][]time.Duration, len(peers))}
		for _, f := range files {
			fmt.Fprintf(b.stdout, "reading %s with %d reader(s)\n", f, n)
			t := task{Files: []string{f}, Readers: n, Warm: warmUp, For: turn}
			if err := b.turns(&h, t, peers, rs); err != nil {
				return err
			}
		}
		b.hot[n] = h
	}
	return nil
}

// turns has the peers do a task in rounds, and adds what they found to h.
func (b *bench) turns(h *hot, t task, peers []*server, rs readers) error {
	all, cpu, ratios := make([]reading, len(peers)), make([]time.Duration, len(peers)), []float64(nil)
	for round := range b.rounds {
		medians := make([]time.Duration, len(peers))
		for _, i := range orders[round%len(orders)] {
			before, err := b.serverCPU(peers[i])
			if err != nil {
				return err
			}
			found, err := rs[i].do(t)
			if err != nil {
				return err
			}
			after, err := b.serverCPU(peers[i])
			if err != nil {
				return err
			}
			cpu[i] += after - before
			all[i].Reads += found[0].Reads
			all[i].Took = append(all[i].Took, found[0].Took...)
			medians[i] = summarize(t.Files[0], found[0].Took).P50
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
