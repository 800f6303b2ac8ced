package cpuset

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// upTo returns the set 0 to n-1.
func upTo(n int) Set {
	s := make(Set, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// full returns a container that may use all of n CPUs.
func full(id string, n int, allowed Set, current ...int) Container {
	return Container{ID: id, CPUs: n, Load: int64(n) * 1000, Allowed: allowed, Current: current}
}

func TestAssign(t *testing.T) {
	four := upTo(4)
	light := func(id string, current ...int) Container {
		return Container{ID: id, CPUs: 1, Load: 100, Allowed: four, Current: current}
	}
	for _, tt := range []struct {
		name string
		list []Container
		want map[string]string
	}{
		{"none", nil, map[string]string{}},
		{"the first", []Container{full("a", 1, four)}, map[string]string{"a": "0"}},
		{"side by side", []Container{full("a", 1, four, 0), full("b", 2, four)}, map[string]string{"a": "0", "b": "1-2"}},
		{"stays where it is", []Container{full("a", 1, four, 3)}, map[string]string{"a": "3"}},
		{"on the emptiest", []Container{full("a", 2, four, 0, 1), light("b", 2), full("c", 1, four)},
			map[string]string{"a": "0-1", "b": "2", "c": "3"}},
		{"more than the node: all of it", []Container{full("a", 9, four)}, map[string]string{"a": "0-3"}},
		{"grows", []Container{full("a", 3, four, 2), full("b", 1, four, 0)}, map[string]string{"a": "1-3", "b": "0"}},
		{"shrinks off the fullest", []Container{full("a", 1, four, 0, 1), full("b", 1, four, 1)}, map[string]string{"a": "0", "b": "1"}},
		{"a CPU is no longer allowed", []Container{full("a", 2, Set{0, 2}, 0, 1)}, map[string]string{"a": "0,2"}},
		{"one of two on a CPU moves", []Container{full("a", 1, four, 0), full("b", 1, four, 0)}, map[string]string{"a": "1", "b": "0"}},
		{"a tie is no reason to move", []Container{full("a", 1, upTo(2), 0), full("b", 1, upTo(2), 1), full("c", 1, upTo(2), 1)},
			map[string]string{"a": "0", "b": "1", "c": "1"}},
		{"a little is no reason to move", []Container{
			{ID: "a", CPUs: 1, Load: 90, Allowed: four, Current: Set{0}}, {ID: "b", CPUs: 1, Load: 90, Allowed: four, Current: Set{0}}},
			map[string]string{"a": "0", "b": "0"}},
		{"nothing is allowed", []Container{full("a", 1, nil, 0)}, map[string]string{"a": ""}},
		{"no CPUs is one", []Container{full("a", 0, four)}, map[string]string{"a": "0"}},
		{"load unknown", []Container{{ID: "a", CPUs: 1, Allowed: four}, {ID: "b", CPUs: 1, Allowed: four}}, map[string]string{"a": "0", "b": "1"}},
		{"different pods, different CPUs", []Container{full("a", 1, Set{0, 1}), full("b", 1, Set{1})}, map[string]string{"a": "0", "b": "1"}},
	} {
		got := make(map[string]string)
		for id, set := range Assign(tt.list) {
			got[id] = set.String()
		}
		if !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// random returns containers with sets, as a node might have them.
func random(r *rand.Rand) []Container {
	node := upTo(1 + r.IntN(16))
	list := make([]Container, r.IntN(24))
	for i := range list {
		c := Container{ID: fmt.Sprintf("c%d", i), CPUs: r.IntN(len(node) + 2), Load: r.Int64N(8000), Allowed: node}
		if r.IntN(4) == 0 {
			c.Allowed = node[r.IntN(len(node)):]
		}
		for _, cpu := range upTo(len(node) + 1) { // one that the node does not have
			if r.IntN(4) == 0 {
				c.Current = append(c.Current, cpu)
			}
		}
		list[i] = c
	}
	return list
}

func TestAssignProperties(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		list := random(r)
		sets := Assign(list)
		load := make(map[int]int64)
		for _, c := range list {
			set := sets[c.ID]
			if want := min(max(1, c.CPUs), len(c.Allowed)); len(set) != want || !slices.IsSorted(set) || len(set.and(c.Allowed)) != want {
				t.Fatalf("seed %d: %+v got %v", seed, c, set)
			}
			for _, cpu := range set {
				load[cpu] += max(1, c.Load/int64(max(1, c.CPUs)))
			}
		}
		balanced(t, seed, list, sets, load)

		again := slices.Clone(list)
		for i := range again {
			again[i].Current = sets[again[i].ID]
		}
		r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		if got := Assign(again); !maps.EqualFunc(got, sets, slices.Equal[Set]) {
			t.Fatalf("seed %d: assigned again, sets changed from %v to %v", seed, sets, got)
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if got := Assign(list); !maps.EqualFunc(got, sets, slices.Equal[Set]) {
			t.Fatalf("seed %d: another order gives %v, want %v", seed, got, sets)
		}
	}
}

// balanced fails the test if a container has a CPU from which it should move.
func balanced(t *testing.T, seed uint64, list []Container, sets map[string]Set, load map[int]int64) {
	t.Helper()
	for _, c := range list {
		share := max(1, c.Load/int64(max(1, c.CPUs)))
		for _, from := range sets[c.ID] {
			for _, to := range c.Allowed {
				if !sets[c.ID].has(to) && load[from]-load[to]-share >= minGain {
					t.Fatalf("seed %d: %+v is on %d with %d beside it, and %d has %d", seed, c, from, load[from]-share, to, load[to])
				}
			}
		}
	}
}

// TestEqualContainers checks the usual case at its best: containers of one CPU
// come and go, every CPU has as many as any other, give or take one, and no
// more than one container moves for each that goes, none for one that comes.
func TestEqualContainers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	node := upTo(8)
	list := []Container{}
	for i := range 2000 {
		gone := 0
		if len(list) > 0 && (len(list) > 40 || r.IntN(2) == 0) {
			j := r.IntN(len(list))
			list, gone = slices.Delete(list, j, j+1), 1
		} else {
			list = append(list, full(fmt.Sprintf("c%d", i), 1, node))
		}
		sets, on, moved := Assign(list), make([]int, len(node)), 0
		for k, c := range list {
			set := sets[c.ID]
			if len(c.Current) > 0 && !slices.Equal(c.Current, set) {
				moved++
			}
			on[set[0]]++
			list[k].Current = set
		}
		if moved > gone || slices.Max(on)-slices.Min(on) > 1 {
			t.Fatalf("step %d: %d moved, %d gone, containers by CPU %v", i, moved, gone, on)
		}
	}
}

func TestSetString(t *testing.T) {
	for _, tt := range []struct {
		set  Set
		want string
	}{{nil, ""}, {Set{0}, "0"}, {Set{0, 1}, "0-1"}, {Set{0, 2, 3, 4, 8}, "0,2-4,8"}, {Set{1023}, "1023"}} {
		if got := tt.set.String(); got != tt.want {
			t.Errorf("%v: %q, want %q", []int(tt.set), got, tt.want)
		}
	}
}

func BenchmarkAssign(b *testing.B) {
	node := upTo(128)
	var list []Container
	for i := range 250 {
		list = append(list, full(fmt.Sprintf("c%d", i), 1+i%8, node))
	}
	for b.Loop() {
		Assign(list)
	}
}
