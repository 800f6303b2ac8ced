// Command view measures the view beside its peers in one run: the kernel's
// own /proc, Debian's lxcfs, and truesize-viewd, with the same container
// limits. It prints ratios and writes its section of docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/truesize/truesize/pkg/registry"
)

// files are those that both peers show.
var files = []string{"meminfo", "stat", "cpuinfo", "uptime", "loadavg"}

const (
	limitCPUs   = 2
	limitMemory = 256 << 20
)

type options struct {
	repo       string
	out        string
	parts      []string
	rounds     int
	samples    int
	containers int
	creates    int
}

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == "reader" {
		err = readerMain(os.Args[2:])
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, os.Args[1:], os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	var o options
	fs := flag.NewFlagSet("view", flag.ContinueOnError)
	fs.StringVar(&o.repo, "repo", "../../..", "the repository, built (make ready)")
	fs.StringVar(&o.out, "out", "", "file for the report's section, empty for none")
	fs.IntVar(&o.rounds, "rounds", 48, "turns of each peer, of readers that do not pause")
	fs.IntVar(&o.samples, "samples", 40, "reads of each file by the readers that come about once a second")
	fs.IntVar(&o.containers, "containers", 200, "containers for the memory figure")
	fs.IntVar(&o.creates, "creates", 300, "containers created with the agent, and as many without")
	only := fs.String("only", strings.Join(parts, ","), "the parts to measure; the report is written if it is all of them")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := o.choose(*only); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "truesize-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cg, err := newCgroups("truesize-bench-" + strconv.Itoa(os.Getpid()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cg.close()) }()

	b := &bench{options: o, ctx: ctx, cg: cg, stdout: stdout, dir: dir}
	if b.wants(partRead) || b.wants(partFloor) || b.wants(partPaced) || b.wants(partMemory) {
		if err := b.measure(); err != nil {
			return err
		}
	}
	if b.wants(partCreate) {
		fmt.Fprintln(stdout, "creating containers, with the agent and without")
		if b.creation, err = b.creations(); err != nil {
			return err
		}
	}
	report := b.report()
	fmt.Fprint(stdout, report)
	if o.out == "" || len(o.parts) < len(parts) {
		return nil
	}
	return os.WriteFile(o.out, []byte(report), 0o644)
}

// The parts of a run.
const (
	partRead   = "read"   // as fast as readers can
	partFloor  = "floor"  // what other files in the place of the view's would cost
	partPaced  = "paced"  // once a second
	partMemory = "memory" // of the server
	partCreate = "create" // creation of containers
)

var parts = []string{partRead, partFloor, partPaced, partMemory, partCreate}

// choose takes the list of parts to measure.
func (o *options) choose(list string) error {
	o.parts = strings.Split(list, ",")
	for _, p := range o.parts {
		if !slices.Contains(parts, p) {
			return fmt.Errorf("-only %q: want some of %s", p, strings.Join(parts, ","))
		}
	}
	return nil
}

func (o *options) wants(part string) bool { return slices.Contains(o.parts, part) }

// A bench is one run and what it has found so far.
type bench struct {
	options
	ctx    context.Context
	cg     *cgroups
	dir    string
	stdout io.Writer

	hot      []hot // by hotCases
	floors   []floorPeer
	steady   [][]latency      // a reader once a second: by peer and file
	unsteady [][]latency      // one that comes at uneven intervals
	rss      map[string]int64 // bytes, by server
	creation creation
}

// measure runs every case. Peers take turns within each case, so that what
// else the machine does falls on all of them.
func (b *bench) measure() (err error) {
	if _, err := exec.LookPath("lxcfs"); err != nil {
		return errors.New("lxcfs is not installed: apt-get install --no-install-recommends lxcfs")
	}
	reg, err := registry.Open(filepath.Join(b.dir, "run", "containers"))
	if err != nil {
		return err
	}
	const id = "bench0"
	if err := b.container(reg, id); err != nil {
		return err
	}
	lxcfs, viewd := newLXCFS(b.dir), newViewd(filepath.Join(b.dir, "run"), filepath.Join(b.repo, "bin/truesize-viewd"))
	if err := os.MkdirAll(lxcfs.mounts[0], 0o755); err != nil {
		return err
	}
	if err := lxcfs.start(b.cg, "lxcfs", filepath.Join(lxcfs.root(id), "proc/meminfo")); err != nil {
		return err
	}
	defer lxcfs.stop()
	if err := viewd.start(b.cg, "viewd", filepath.Join(viewd.root(id), "proc/meminfo")); err != nil {
		return err
	}
	defer viewd.stop()

	if b.wants(partRead) {
		if err := b.withoutPause(reg, nil, lxcfs, viewd); err != nil {
			return err
		}
	}
	if b.wants(partFloor) {
		if err := b.floor(id, viewd); err != nil {
			return err
		}
	}
	if b.wants(partPaced) {
		if err := b.paced(id, lxcfs, viewd); err != nil {
			return err
		}
	}
	if !b.wants(partMemory) {
		return nil
	}
	fmt.Fprintf(b.stdout, "reading in %d containers\n", b.containers)
	return b.memory(reg, lxcfs, viewd)
}

// container makes the cgroup of a container and registers it.
func (b *bench) container(reg *registry.Dir, id string) error {
	paths, err := b.cg.make(id)
	if err != nil {
		return err
	}
	if err := b.cg.limit(id, limitCPUs, limitMemory); err != nil {
		return err
	}
	return register(reg, id, paths, limitCPUs, limitMemory)
}

// memory registers and reads many containers and takes each server's RSS.
func (b *bench) memory(reg *registry.Dir, lxcfs, viewd *server) error {
	b.rss = map[string]int64{}
	var held readers
	defer func() { held.close() }()
	for i := range b.containers {
		id := "bench" + strconv.Itoa(i+1)
		if err := b.container(reg, id); err != nil {
			return err
		}
		for _, s := range []*server{lxcfs, viewd} {
			r, err := b.startReader(s, id, id)
			if err != nil {
				return err
			}
			held = append(held, r)
			if _, err := r.do(task{Files: files, Reads: 1}); err != nil {
				return err
			}
		}
	}
	for _, s := range []*server{lxcfs, viewd} {
		rss, err := s.rss()
		if err != nil {
			return err
		}
		b.rss[s.name] = rss
	}
	return nil
}
