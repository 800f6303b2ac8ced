package shim_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/registry"
)

// cpuList returns a set's CPUs in ascending order.
func cpuList(set unix.CPUSet) []int {
	var list []int
	for c := 0; len(list) < set.Count(); c++ {
		if set.IsSet(c) {
			list = append(list, c)
		}
	}
	return list
}

func format(cpus []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(cpus), " ", ","), "[]")
}

// extended returns cpus and the lowest other numbers, n in all.
func extended(cpus []int, n int) []int {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	for c := 0; set.Count() < n; c++ {
		set.Set(c)
	}
	return cpuList(set)
}

// ownMasks are the commands that ask for a thread's mask, each in its way.
var ownMasks = []string{
	"getaffinity self", "getaffinity pid", "getaffinity tid", "pthread_getaffinity",
	"thread getaffinity tid", "thread getaffinity self", "thread pthread_getaffinity", "fork getaffinity self",
}

func (p *probe) wantMask(cpus []int) {
	p.t.Helper()
	for _, command := range ownMasks {
		p.want(command, format(cpus))
	}
}

func TestMaskOfSmallContainer(t *testing.T) {
	real := cpuList(realCPUs(t))
	if len(real) < 2 {
		skip(t, "needs 2 CPUs")
	}
	inWorlds(t, func(t *testing.T, w world) {
		for first := range 2*len(real) + 1 {
			page := newPage(t, registry.SizePage{CPUs: 1, FirstCPU: uint32(first), Memory: gib})
			p := w.probe(t, box{page: page})
			mine := real[first%len(real)]
			p.wantMask([]int{mine})
			p.want("getaffinity_bytes 4096", 1)
			p.want("raw_affinity", format(real))
			p.want(fmt.Sprintf("getaffinity %d", os.Getpid()), format(real)) // not its own
			p.want(fmt.Sprintf("setaffinity %d", mine), "errno 0")           // what it was told
			p.want("raw_affinity", strconv.Itoa(mine))
		}
	})
}

func TestMaskOfLargeContainer(t *testing.T) {
	real := cpuList(realCPUs(t))
	n := len(real) + 5
	inWorlds(t, func(t *testing.T, w world) {
		page := newPage(t, registry.SizePage{CPUs: n, FirstCPU: 1, Memory: gib})
		p := w.probe(t, box{page: page})
		all := extended(real, n)
		p.wantMask(all)
		p.want("setaffinity "+format(all), "errno 0")
		p.want("raw_affinity", format(real))

		p.want(fmt.Sprintf("setaffinity %d", real[0]), "errno 0")
		if len(real) > 1 {
			p.wantMask(real[:1]) // narrowed on purpose
		}
		imaginary := all[len(all)-1]
		for _, command := range []string{"setaffinity", "pthread_setaffinity"} {
			p.ask(fmt.Sprintf("setaffinity %d", real[0]))
			if got := p.ask(fmt.Sprintf("%s %d", command, imaginary)); !strings.HasSuffix(got, " 0") {
				t.Errorf("%s to CPU %d of %d: %s", command, imaginary, n, got)
			}
			p.want("raw_affinity", format(real))
		}
		p.want("setaffinity 1000", "errno 22") // not promised either
		p.want("pthread_setaffinity 1000", "error 22")
	})
}

// A thread created with attributes that bind it to a CPU, as OpenMP does with
// OMP_PROC_BIND. musl has no such attribute.
func TestThreadCreatedOnCPUOfLargeContainer(t *testing.T) {
	real := cpuList(realCPUs(t))
	last := real[len(real)-1]
	for _, w := range worlds() {
		if w.name == "musl" {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			page := newPage(t, registry.SizePage{CPUs: last + 4, Memory: gib, UsableCPUs: len(real), PossibleCPUs: last + 1})
			p := w.probe(t, box{page: page})
			p.want(fmt.Sprintf("create_bound %d", last), "error 0")
			p.want(fmt.Sprintf("create_bound %d", last+2), "error 0")
			p.want(fmt.Sprintf("create_bound %d", last+900), "error 22")
		})
	}
}

// The rules of the call itself: as sched_getaffinity(2) says, and as the
// libcs wrap it.
func TestGetaffinityIsTheLibcs(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		page := newPage(t, registry.SizePage{CPUs: 1, Memory: gib})
		p := w.probe(t, box{page: page})
		bare := w.bareProbe(t, box{page: page})
		for _, command := range []string{
			"getaffinity_bytes 0", "getaffinity_bytes 1", "getaffinity_bytes 9",
			"getaffinity 2147483646", "getaffinity -5", "setaffinity 1023",
		} {
			p.want(command, bare.ask(command))
		}
		p.want("getaffinity_bytes 1024", 1)
	})
}

// Without a size nothing changes.
func TestMaskWithoutSize(t *testing.T) {
	real := cpuList(realCPUs(t))
	inWorlds(t, func(t *testing.T, w world) {
		p := w.probe(t, box{})
		p.wantMask(real)
		p.want("setaffinity 1000", "errno 22")
		p.want("pthread_setaffinity 1000", "error 22")
	})
}
