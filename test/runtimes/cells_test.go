package runtimes

import (
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/size"
)

// A cell is one answer: its name among the command's "name=value" lines,
// empty for a command that prints the answer alone.
type cell struct {
	name string
	want func(size.Size) string
	// exception says why the answer is not the container's size. want is then
	// what it is instead.
	exception string
}

// A row is a program and what it is to answer.
type row struct {
	program string
	command string // a line for sh
	cells   []cell
}

func cpus(s size.Size) string   { return fmt.Sprint(s.CPUs) }
func memory(s size.Size) string { return fmt.Sprint(s.Memory) }

// node is the number of CPUs the node has.
func nodeCPUs(size.Size) string { return fmt.Sprint(runtime.NumCPU()) }

// goByQuota is what Go makes of the node and the limit by itself.
func goByQuota(s size.Size) string { return fmt.Sprint(max(2, min(s.CPUs, runtime.NumCPU()))) }

// nodeMemory is what sysinfo(2) says.
func nodeMemory(size.Size) string {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err.Error()
	}
	return fmt.Sprint(info.Totalram * uint64(info.Unit))
}

// configured is the bound of CPU numbers.
func configured(s size.Size) string { return fmt.Sprint(max(s.CPUs, runtime.NumCPU())) }

// one is a row of one answer.
func one(program, command string, want func(size.Size) string) row {
	return row{program, command, []cell{{want: want}}}
}

// Why an answer differs: docs/runtimes.md has each at length.
const (
	staticProgram  = "static: nothing can be preloaded; a CPU set does"
	numberBound    = "the bound of CPU numbers, never below the node's"
	cpuDirectories = "of the CPUs online, those with a directory in /sys"
	staticMemory   = "static: the kernel tells the node's memory"
	goCalls        = "Go calls the kernel, not the libc; a CPU set does"
	goQuota        = "static: by mask and quota, at least 2; GOMAXPROCS sets it"
)

// jdk is what the JDK of a version, at java, is asked.
func jdk(version, java string) []row {
	return []row{
		{"JDK " + version, java + " -cp /tmp Sizes", []cell{
			{name: "availableProcessors", want: cpus},
			{name: "forkJoinParallelism", want: func(s size.Size) string { return fmt.Sprint(max(s.CPUs-1, 1)) }},
			{name: "mxbeanCPUs", want: cpus},
			{name: "mxbeanMemory", want: memory},
		}},
		{"JDK " + version + " flags", java + ` -XX:+UseParallelGC -XX:+PrintFlagsFinal -version 2>/dev/null |
			awk '$2 ~ /^(ParallelGCThreads|CICompilerCount|MaxHeapSize)$/ { print $2 "=" $4 }'`, []cell{
			{name: "ParallelGCThreads", want: cpus}, // up to 8 CPUs
			{name: "CICompilerCount", want: func(s size.Size) string { return map[int]string{1: "2", 7: "3"}[s.CPUs] }},
			{name: "MaxHeapSize", want: func(s size.Size) string { return fmt.Sprint(s.Memory / 4) }},
		}},
		{"JDK " + version + " -XX:ActiveProcessorCount=3", java + " -XX:ActiveProcessorCount=3 -cp /tmp Sizes", []cell{
			{name: "availableProcessors", want: func(size.Size) string { return "3" }, exception: "the flag goes first"},
		}},
	}
}

// newer are the later versions of runtimes, those of Debian 13.
var newer = slices.Concat(
	jdk("21", "/usr/lib/jvm/java-21-openjdk-*/bin/java"),
	jdk("25", "/usr/lib/jvm/java-25-openjdk-*/bin/java"),
	[]row{
		{"Python 3.13", python313, []cell{{name: "cpu_count", want: cpus}, {name: "process", want: cpus}, {name: "affinity", want: cpus}}},
		{"Python 3.13, PYTHON_CPU_COUNT unset", "env -u PYTHON_CPU_COUNT " + python313, []cell{
			{name: "cpu_count", want: cpus}, {name: "process", want: cpus}, {name: "affinity", want: cpus}}},
		libc("glibc 2.41", "/probes/libc-glibc"), libc("musl 1.2.5", "/probes/libc-musl"),
		one("coreutils 9.7 nproc", "nproc", cpus),
		one("procps 4.0.4 free", `free -b | awk '/^Mem/ { print $2 }'`, memory),
	},
)

const python313 = `python3.13 -c 'import os
print("cpu_count=%d" % os.cpu_count())
print("process=%d" % os.process_cpu_count())
print("affinity=%d" % len(os.sched_getaffinity(0)))'`

// libc is a C program linked with a libc.
func libc(name, program string) row {
	return row{name + ", sysconf and sysinfo", program, []cell{
		{name: "online", want: cpus}, {name: "affinity", want: cpus}, {name: "memory", want: memory}, {name: "pages", want: memory},
	}}
}

var rows = append(jdk("17", "java"), []row{
	{"Node.js", `node -e 'const os = require("os");
		console.log("cpus=" + os.cpus().length + "\nparallelism=" + os.availableParallelism() + "\ntotalmem=" + os.totalmem())'`,
		[]cell{{name: "cpus", want: cpus}, {name: "parallelism", want: cpus}, {name: "totalmem", want: memory}}},
	one("Node.js cluster workers", "node /probes/cluster.js", cpus),
	{"Python", `python3 -c 'import os, multiprocessing.pool, psutil
print("cpu_count=%d" % os.cpu_count())
print("affinity=%d" % len(os.sched_getaffinity(0)))
print("pool=%d" % multiprocessing.pool.Pool()._processes)
print("psutil=%d" % psutil.cpu_count())
print("memory=%d" % psutil.virtual_memory().total)'`, []cell{
		{name: "cpu_count", want: cpus}, {name: "affinity", want: cpus}, {name: "pool", want: cpus},
		{name: "psutil", want: cpus}, {name: "memory", want: memory},
	}},
	one("Python binds a thread to each CPU", `python3 -c 'import os
n = 0
for cpu in os.sched_getaffinity(0):
	os.sched_setaffinity(0, {cpu})
	n += 1
print(n)'`, cpus),
	one("Ruby Etc.nprocessors", "ruby -retc -e 'puts Etc.nprocessors'", cpus),
	one("PHP, /proc/cpuinfo", `php -r 'echo preg_match_all("/^processor/m", file_get_contents("/proc/cpuinfo"));'`, cpus),
	one("Perl POSIX::sysconf", "perl -MPOSIX -e 'print POSIX::sysconf(84)'", cpus),
	one("Erlang schedulers_online", `HOME=/tmp erl -noshell -eval 'io:format("~p", [erlang:system_info(schedulers_online)]), halt().'`, cpus),
	one("nginx worker_processes auto", `nginx -c /probes/nginx.conf
		last=0; for i in $(seq 50); do n=$(pgrep -c -P "$(cat /tmp/nginx.pid)"); [ "$n" = $last ] && [ "$n" != 0 ] && break; last=$n; sleep 0.2; done
		kill "$(cat /tmp/nginx.pid)"; echo "$n"`, cpus),
	{"gcc -fopenmp", "/probes/gomp", []cell{{name: "threads", want: cpus}, {name: "ran", want: cpus}, {name: "procs", want: cpus}}},
	{"gcc -fopenmp, OMP_PROC_BIND", "OMP_PROC_BIND=true /probes/gomp", []cell{{name: "ran", want: cpus}}},
	one("OpenBLAS", `python3 -c 'import ctypes; print(ctypes.CDLL("libopenblas.so.0").openblas_get_num_threads())'`, cpus),
	one("C++ hardware_concurrency", "/probes/concurrency", cpus),
	one("Rust available_parallelism", "/probes/parallelism", cpus),
	libc("glibc 2.36", "/probes/libc-glibc"), libc("musl 1.2.3", "/probes/libc-musl"),
	one("nproc", "nproc", cpus),
	{"nproc --all", "nproc --all", []cell{{want: configured, exception: numberBound}}},
	one("getconf _NPROCESSORS_ONLN", "getconf _NPROCESSORS_ONLN", cpus),
	{"getconf _NPROCESSORS_CONF", "getconf _NPROCESSORS_CONF", []cell{{want: configured, exception: numberBound}}},
	one("getconf _PHYS_PAGES", `echo $(($(getconf _PHYS_PAGES) * $(getconf PAGE_SIZE)))`, memory),
	{"lscpu, online", `lscpu --parse=CPU | grep -vc '^#'`, []cell{
		{want: func(s size.Size) string { return fmt.Sprint(min(s.CPUs, runtime.NumCPU())) }, exception: cpuDirectories},
	}},
	one("free", `free -b | awk '/^Mem/ { print $2 }'`, memory),
	one("busybox free (dynamic)", `busybox free | awk '/^Mem/ { printf "%.0f", $2 * 1024 }'`, memory),
}...)

// Programs without a libc, or that go by it, ask the kernel. What it says of
// CPUs differs with a CPU set; of memory it says the node's.
var (
	static = []row{
		{"static musl", "/probes/libc-static", []cell{
			{name: "online", want: nodeCPUs, exception: staticProgram}, {name: "memory", want: nodeMemory, exception: staticMemory}}},
		{"static Go", "/probes/goprocs/goprocs", []cell{
			{name: "NumCPU", want: nodeCPUs, exception: staticProgram},
			{name: "GOMAXPROCS", want: cpus},
		}},
		{"static Go, GOMAXPROCS unset", "env -u GOMAXPROCS /probes/goprocs/goprocs", []cell{
			{name: "GOMAXPROCS", want: goByQuota, exception: goQuota},
		}},
		{"dynamic Go (cgo)", "/probes/goprocs/cgo/cgo", []cell{
			{name: "NumCPU", want: nodeCPUs, exception: goCalls}, {name: "sysconf", want: cpus}, {name: "GOMAXPROCS", want: cpus},
		}},
	}
	staticInCPUSet = []row{
		{"static musl, CPU set", "/probes/libc-static", []cell{
			{name: "online", want: cpus}, {name: "memory", want: nodeMemory, exception: staticMemory}}},
		{"static Go, CPU set", "/probes/goprocs/goprocs", []cell{{name: "NumCPU", want: cpus}, {name: "GOMAXPROCS", want: cpus}}},
		{"static Go, CPU set, GOMAXPROCS unset", "env -u GOMAXPROCS /probes/goprocs/goprocs", []cell{{name: "GOMAXPROCS", want: cpus}}},
		{"dynamic Go (cgo), CPU set", "/probes/goprocs/cgo/cgo", []cell{
			{name: "NumCPU", want: cpus}, {name: "sysconf", want: cpus}, {name: "GOMAXPROCS", want: cpus},
		}},
	}
)
