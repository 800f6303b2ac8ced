package inject

import (
	"strconv"

	"github.com/truesize/truesize/pkg/size"
)

// A Variable is one from which a runtime takes its size, because it asks the
// kernel otherwise, or nobody.
type Variable struct {
	Name string
	// Default says whether it is set unless the admin decides otherwise.
	Default bool
	// Help is what it is for, in a few words.
	Help  string
	value func(size.Size) string
}

// Value returns what the variable is in a container of size s.
func (v Variable) Value(s size.Size) string { return v.value(s) }

// Variables returns the table of the variables that can be set. Each is set
// only where the container's spec does not have it; docs/injection.md says
// what follows from each.
func Variables() []Variable {
	return []Variable{
		{"GOMAXPROCS", true, "Go: threads that run Go code at once", cpus},
		{"DOTNET_PROCESSOR_COUNT", true, ".NET: processors", cpus},
		{"PYTHON_CPU_COUNT", true, "Python from 3.13 on: os.cpu_count()", cpus},
		{"MALLOC_ARENA_MAX", true, "glibc: arenas of malloc", arenas},
		{"OMP_NUM_THREADS", false, "OpenMP: threads of a parallel region; also nproc's answer", cpus},
		{"JAVA_TOOL_OPTIONS", false, "JVM: -XX:ActiveProcessorCount; every JVM prints a line that it picked it up", javaOptions},
		{"UV_THREADPOOL_SIZE", false, "Node.js and other programs on libuv: threads of blocking calls", blockingThreads},
	}
}

func cpus(s size.Size) string { return strconv.Itoa(s.CPUs) }

// arenas is glibc's own bound on 64-bit machines, eight arenas for a CPU
// (malloc/arena.c, NARENAS_FROM_NCORES), with the container's CPUs in place
// of the node's, which glibc counts by itself where no shim is asked.
func arenas(s size.Size) string { return strconv.Itoa(8 * s.CPUs) }

// javaOptions is the flag that every part of the JVM follows, from JDK 10 and
// 8u191 on. An older one does not know it and refuses to start.
func javaOptions(s size.Size) string { return "-XX:ActiveProcessorCount=" + strconv.Itoa(s.CPUs) }

// blockingThreads is one for each CPU, for compression and cryptography, but
// never below libuv's own default of 4: most of these threads wait for files
// and names. libuv takes 1024 at most.
func blockingThreads(s size.Size) string { return strconv.Itoa(min(max(4, s.CPUs), 1024)) }

// planVariables adds the variables that are switched on and not set.
func planVariables(a *Adjustment, c Container, s size.Size, on map[string]bool) {
	for _, v := range Variables() {
		if _, set := Getenv(c.Env, v.Name); on[v.Name] && !set {
			a.Env = append(a.Env, EnvVar{Name: v.Name, Value: v.value(s)})
		}
	}
}
