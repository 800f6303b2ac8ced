package integration

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/truesize/truesize/test/stack"
)

// allowedCPUs prints the CPUs of the process's real mask.
const allowedCPUs = "awk '/^Cpus_allowed_list:/ {print $2}' /proc/self/status"

// pinned describes a container of one CPU that asks for a CPU set.
func pinned() stack.Spec {
	spec := small()
	spec.Annotations = map[string]string{"truesize.dev/cpuset": "true"}
	return spec
}

// TestCPUSets checks that containers that ask for it get CPU sets of their
// size, that these are spread over the node and spread again when one goes,
// also by an agent that was started meanwhile, and that they follow a resize.
func TestCPUSets(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Fatal("needs a node of 2 CPUs")
	}
	list := make([]*stack.Container, 2*runtime.NumCPU())
	on := make(map[string][]int) // containers by CPU
	for i := range list {
		c, err := node.Run(t.Context(), pinned())
		if err != nil {
			t.Fatal(err)
		}
		list[i] = c
		cpus := sh(t, c, allowedCPUs)
		on[cpus] = append(on[cpus], i)
	}
	gone := map[int]bool{}
	remove := func(i int) {
		gone[i] = true
		if err := list[i].Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}
	defer func() {
		for i := range list {
			if !gone[i] {
				remove(i)
			}
		}
	}()
	for cpus, containers := range on {
		if len(containers) != 2 || strings.ContainsAny(cpus, ",-") {
			t.Fatalf("containers by CPU set: %v, want two on each CPU", on)
		}
	}

	// Both containers of one CPU go while the agent is away.
	first := sh(t, list[0], allowedCPUs)
	node.StopAgent()
	for _, i := range on[first] {
		remove(i)
	}
	if err := node.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		for i := range list {
			if !gone[i] && sh(t, list[i], allowedCPUs) == first {
				return nil
			}
		}
		return fmt.Errorf("no container moved to CPU %s, which nobody uses", first)
	})

	last := len(list) - 1
	for gone[last] {
		last--
	}
	c := list[last]
	if err := c.Resize(t.Context(), 2000, 256<<20); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if n := sh(t, c, "nproc"); n != "2" {
			return fmt.Errorf("static nproc prints %s after a resize to 2 CPUs", n)
		}
		return nil
	})
	if err := c.Resize(t.Context(), 1000, 256<<20); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if n := sh(t, c, "nproc"); n != "1" {
			return fmt.Errorf("static nproc prints %s after a resize to 1 CPU", n)
		}
		return nil
	})
}

// TestNoCPUSetUnasked checks that CPU sets are off by default, and that a
// container as large as the node gets none.
func TestNoCPUSetUnasked(t *testing.T) {
	all := hostSh(t, "cat /sys/devices/system/cpu/online")
	wantSh(t, run(t, small()), allowedCPUs, all)
	spec := pinned()
	spec.CPUMilli = int64(runtime.NumCPU()) * 1000
	wantSh(t, run(t, spec), allowedCPUs, all)
}
