package shim_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/registry"
)

const gib = 1 << 30

// id is the container of these tests.
const id = "c0ffee"

// realCPUs is what the kernel says, without a libc: on which CPUs this
// process may run.
func realCPUs(t *testing.T) unix.CPUSet {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// newRegistry returns a registry that holds the container id.
func newRegistry(t *testing.T) *registry.Dir {
	t.Helper()
	d, err := registry.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &registry.Container{ID: id}
	c.Decision.Size.CPUs, c.Decision.Size.Memory = 1, gib
	if err := d.Put(c); err != nil {
		t.Fatal(err)
	}
	return d
}

// put writes the page and returns its path. Usable and possible CPUs are the
// machine's.
func put(t *testing.T, d *registry.Dir, p registry.SizePage) string {
	t.Helper()
	set := realCPUs(t)
	if p.UsableCPUs == 0 {
		p.UsableCPUs, p.PossibleCPUs = set.Count(), set.Count()
	}
	if err := d.PutSizePage(id, p); err != nil {
		t.Fatal(err)
	}
	path, err := d.SizePageFile(id)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// newPage returns the path of a page that says p.
func newPage(t *testing.T, p registry.SizePage) string {
	t.Helper()
	return put(t, newRegistry(t), p)
}

// counts are the commands whose answer is the container's CPUs.
var counts = map[string]string{"jvm": "%d", "nprocs": "%d", "sysconf 84": "%d errno 0"}

func (p *probe) wantCPUs(n int) {
	p.t.Helper()
	for command, format := range counts {
		p.want(command, fmt.Sprintf(format, n))
	}
}

func TestResizeIsSeenAtOnce(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		d := newRegistry(t)
		page := put(t, d, registry.SizePage{CPUs: 3, InjectedCPUs: 3, Memory: 3 * gib})
		p := w.probe(t, box{page: page, env: []string{"NUM_CPUS=3"}})
		for _, n := range []int{3, 5, 1, 8192} {
			put(t, d, registry.SizePage{CPUs: n, InjectedCPUs: 3, Memory: uint64(n) * gib})
			p.wantCPUs(n)
			p.want("phys_pages", uint64(n)*gib/4096)
		}
	})
}

func TestConfiguredCPUsAreNeverBelowTheNodes(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		for _, tt := range []struct{ cpus, possible, want int }{
			{1, 500, 500}, // the libc's own answer is smaller
			{600, 500, 600},
			{1000, 0, 1000},
		} {
			page := newPage(t, registry.SizePage{CPUs: tt.cpus, Memory: gib, UsableCPUs: 1, PossibleCPUs: tt.possible})
			p := w.probe(t, box{page: page})
			p.want("nprocs_conf", tt.want)
			p.want("sysconf 83", fmt.Sprintf("%d errno 0", tt.want))
		}
		want := w.bareProbe(t, box{}).ask("nprocs_conf")
		page := newPage(t, registry.SizePage{CPUs: 1, Memory: gib, UsableCPUs: 1})
		w.probe(t, box{page: page}).want("nprocs_conf", want)
	})
}

// TestPageOrEnvironment is the order of the sources: a good page, then a good
// NUM_CPUS, then the kernel. A process's own NUM_CPUS comes before the page.
func TestPageOrEnvironment(t *testing.T) {
	good := newPage(t, registry.SizePage{CPUs: 5, InjectedCPUs: 4, Memory: gib})
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	change := func(edit func(page []byte) []byte) string {
		return writeShared(t, "size", edit(bytes.Clone(data)))
	}
	fifo := filepath.Join(t.TempDir(), "size")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	set := realCPUs(t)
	real := set.Count()
	// A NUM_CPUS as injected tells the page, which says 5, from the environment.
	for _, tt := range []struct {
		name, page, env string
		want            int
	}{
		{"page", good, "", 5},
		{"page and NUM_CPUS as injected", good, "NUM_CPUS=4", 5},
		{"NUM_CPUS of the process's own", good, "NUM_CPUS=6", 6},
		{"page and garbage", good, "NUM_CPUS=two", 5},
		{"no page", "", "NUM_CPUS=6", 6},
		{"no page, largest", "", "NUM_CPUS=8192", 8192},
		{"nothing", "", "", real},
		{"another variable", "", "XNUM_CPUS=6", real},
		{"longer name", "", "NUM_CPUSX=6", real},
		{"truncated", change(func(p []byte) []byte { return p[:4095] }), "NUM_CPUS=4", 4},
		{"empty file", change(func(p []byte) []byte { return nil }), "NUM_CPUS=4", 4},
		{"newer version", change(func(p []byte) []byte { p[8] = 2; return p }), "NUM_CPUS=4", 4},
		{"no magic", change(func(p []byte) []byte { p[0] ^= 1; return p }), "NUM_CPUS=4", 4},
		{"0 CPUs", change(func(p []byte) []byte { p[12] = 0; return p }), "NUM_CPUS=4", 4},
		{"65541 CPUs", change(func(p []byte) []byte { p[14] = 1; return p }), "", real},
		{"directory", t.TempDir(), "NUM_CPUS=4", 4},
		{"FIFO", fifo, "NUM_CPUS=4", 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorlds(t, func(t *testing.T, w world) {
				b := box{page: tt.page}
				if tt.env != "" {
					b.env = []string{tt.env}
				}
				p := w.probe(t, b)
				if tt.want == real {
					p.want("jvm", real)
					return
				}
				p.wantCPUs(tt.want)
			})
		})
	}
}

func TestGarbageInNumCPUs(t *testing.T) {
	set := realCPUs(t)
	inWorlds(t, func(t *testing.T, w world) {
		p := w.probe(t, box{env: []string{"NUM_CPUS=zero"}})
		p.want("jvm", set.Count())
		for _, value := range []string{"", "0", "-1", "+1", "1e9", "1000000000", "8193", "4294967298", "two", " 2", "2 "} {
			p.want("setenv NUM_CPUS="+value, 0)
			p.want("jvm", set.Count())
		}
	})
}

func TestProcessChangesNumCPUs(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		page := newPage(t, registry.SizePage{CPUs: 5, InjectedCPUs: 4, Memory: gib})
		p := w.probe(t, box{page: page, env: []string{"A=1", "NUM_CPUS=4", "Z=26"}})
		for _, step := range []struct {
			command string
			want    int
		}{
			{"setenv NUM_CPUS=9", 9},
			{"setenv OTHER=1", 9}, // the array moves
			{"unsetenv A", 9},     // the slots move
			{"setenv NUM_CPUS=4", 5},
			{"setenv NUM_CPUS=nine", 5},
			{"unsetenv NUM_CPUS", 5},
			{"setenv B=2", 5},
			{"setenv NUM_CPUS=2", 2},
			{"unsetenv NUM_CPUS", 5},
			{"setenv C=3", 5},
		} {
			p.want(step.command, 0)
			p.wantCPUs(step.want)
			p.wantCPUs(step.want) // what the first call remembered
		}
		// With as many variables as before, between two questions.
		p.want("unsetenv B", 0)
		p.want("setenv NUM_CPUS=3", 0)
		p.wantCPUs(3)
	})
}
