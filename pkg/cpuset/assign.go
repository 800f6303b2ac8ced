// Package cpuset decides on which of a node's CPUs containers run that are to
// have real CPU sets: static programs, in which nothing can be preloaded,
// count the CPUs of their mask.
//
// It is pure: [Assign] turns what containers have into what they should have.
// The load it spreads is what the containers may use, not what they use at the
// moment: sets that followed use would move all the time, and with them the
// caches. It imports the standard library only.
package cpuset

import (
	"cmp"
	"math"
	"slices"
)

// A Container is one that has, or is to have, a set.
type Container struct {
	ID string
	// CPUs is how many it is to have, at least 1.
	CPUs int
	// Load is what it may use, in thousandths of a CPU. It counts evenly on
	// each of its CPUs.
	Load int64
	// Allowed are the CPUs it can have: those of the cgroup above its own.
	Allowed Set
	// Current are those it has, none for a new one.
	Current Set
}

// minGain is how much less, in thousandths of a CPU, the fuller of two CPUs
// must have for a move to be worth the caches that it leaves behind.
const minGain = 100

// Assign returns the set of each container, by ID: min(CPUs, Allowed) of its
// allowed CPUs, on which the least load lies. Sets change no more than that
// needs: a CPU is given up only if it is no longer allowed, or too many, or if
// another has a tenth of a CPU less load even with the container on it. So
// what Assign has returned, it returns again.
func Assign(list []Container) map[string]Set {
	a := assignment{load: make(map[int]int64)}
	for _, c := range list {
		share := max(1, c.Load/int64(max(1, c.CPUs)))
		a.list = append(a.list, &placed{Container: c, share: share, set: c.Current.and(c.Allowed)})
	}
	// The heaviest are placed first, for what is light fits in between; the
	// rest of the order makes the result independent of the list's.
	slices.SortFunc(a.list, func(x, y *placed) int {
		return cmp.Or(cmp.Compare(y.share, x.share), cmp.Compare(x.ID, y.ID))
	})
	for _, c := range a.list {
		for _, cpu := range c.set {
			a.load[cpu] += c.share
		}
	}
	for _, c := range a.list {
		a.fit(c)
	}
	for a.improve() {
	}
	sets := make(map[string]Set, len(a.list))
	for _, c := range a.list {
		sets[c.ID] = c.set
	}
	return sets
}

type placed struct {
	Container
	share int64 // of the load, on each of its CPUs
	set   Set
}

type assignment struct {
	list []*placed
	load map[int]int64 // by CPU
}

// fit gives c as many CPUs as it is to have.
func (a *assignment) fit(c *placed) {
	want := min(max(1, c.CPUs), len(c.Allowed))
	for len(c.set) > want {
		a.take(c, a.fullest(c.set))
	}
	for len(c.set) < want {
		a.give(c, a.emptiest(c))
	}
}

// improve makes the move that evens the load most. It reports whether there
// was one that is worth it. Each makes the sum of the squares of the loads
// smaller, so they end.
func (a *assignment) improve() bool {
	var (
		best     *placed
		from, to int
		most     int64
	)
	for _, c := range a.list {
		if len(c.set) == 0 || len(c.set) == len(c.Allowed) {
			continue
		}
		f, t := a.fullest(c.set), a.emptiest(c)
		less := a.load[f] - a.load[t] - c.share
		if gain := less * c.share; less >= minGain && gain > most {
			best, from, to, most = c, f, t, gain
		}
	}
	if best == nil {
		return false
	}
	a.take(best, from)
	a.give(best, to)
	return true
}

func (a *assignment) give(c *placed, cpu int) {
	c.set = c.set.with(cpu)
	a.load[cpu] += c.share
}

func (a *assignment) take(c *placed, cpu int) {
	c.set = c.set.without(cpu)
	a.load[cpu] -= c.share
}

// fullest returns the CPU of a set with the most load, the last of equals.
func (a *assignment) fullest(set Set) int {
	cpu, most := -1, int64(math.MinInt64)
	for _, n := range set {
		if a.load[n] >= most {
			cpu, most = n, a.load[n]
		}
	}
	return cpu
}

// emptiest returns the CPU with the least load that c may have and has not,
// the first of equals.
func (a *assignment) emptiest(c *placed) int {
	cpu, least := -1, int64(math.MaxInt64)
	for _, n := range c.Allowed {
		if a.load[n] < least && !c.set.has(n) {
			cpu, least = n, a.load[n]
		}
	}
	return cpu
}
