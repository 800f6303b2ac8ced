// Command view measures the view beside its peers in one run: the kernel's
// own /proc, Debian's lxcfs, and truesize-viewd, with the same container
// limits. It prints ratios and writes its section of docs/benchmarks.md.
package main

import (
	"bytes"
	"context"
	"encoding/json"
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
	"time"

	"github.com/truesize/truesize/pkg/registry"
)

// files are those that both peers show.
var files = []string{"meminfo", "stat", "cpuinfo", "uptime", "loadavg"}

// readerCounts are the numbers of readers that read as fast as they can.
var readerCounts = []int{1, 8}

const (
	limitCPUs   = 2
	limitMemory = 256 << 20
)

type options struct {
	repo       string
	out        string
	parts      []string
	reads      int
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
	fs.IntVar(&o.reads, "reads", 20000, "reads of each file by each reader")
	fs.IntVar(&o.samples, "samples", 40, "reads of each file by the readers that come about once a second")
	fs.IntVar(&o.containers, "containers", 200, "containers for the memory figure")
	fs.IntVar(&o.creates, "creates", 50, "containers created with the agent, and as many without")
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
	if b.wants(partRead) || b.wants(partPaced) || b.wants(partMemory) {
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
	partPaced  = "paced"  // once a second
	partMemory = "memory" // of the server
	partCreate = "create" // creation of containers
)

var parts = []string{partRead, partPaced, partMemory, partCreate}

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

	hot      map[int][]result // by number of readers
	steady   []result         // a reader once a second
	unsteady []result         // one that comes at uneven intervals
	rss      map[string]int64 // bytes, by server
	creation creation
}

// A result is one peer's latencies and what they cost its server.
type result struct {
	peer      string
	latencies []latency
	serverCPU []time.Duration // per 100,000 reads, by file; nil for the kernel
}

// measure runs every case. Peers take turns within each case, so that what
// else the machine does falls on all of them.
func (b *bench) measure() (err error) {
	if _, err := exec.LookPath("lxcfs"); err != nil {
		return errors.New("lxcfs is not installed: apt-get install --no-install-recommends lxcfs")
	}
	paths, err := b.cg.make("container")
	if err != nil {
		return err
	}
	if err := b.cg.limit("container", limitCPUs, limitMemory); err != nil {
		return err
	}
	reg, err := registry.Open(filepath.Join(b.dir, "run", "containers"))
	if err != nil {
		return err
	}
	const id = "bench0"
	if err := register(reg, id, paths, limitCPUs, limitMemory); err != nil {
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

	b.hot = map[int][]result{}
	for _, readers := range readerCounts {
		if !b.wants(partRead) {
			break
		}
		for _, p := range []*server{nil, lxcfs, viewd} {
			fmt.Fprintf(b.stdout, "reading with %d reader(s): %s\n", readers, peerName(p))
			r, err := b.hotReads(p, id, readers)
			if err != nil {
				return err
			}
			b.hot[readers] = append(b.hot[readers], r)
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

// paced measures readers that come about once a second.
func (b *bench) paced(id string, lxcfs, viewd *server) (err error) {
	for _, kind := range []struct {
		what     string
		unsteady bool
		into     *[]result
	}{{"once a second", false, &b.steady}, {"after half a second to one and a half", true, &b.unsteady}} {
		fmt.Fprintf(b.stdout, "reading %s, %d times: all three at once\n", kind.what, b.samples)
		if *kind.into, err = b.slowReads(id, kind.unsteady, nil, lxcfs, viewd); err != nil {
			return err
		}
	}
	return nil
}

func peerName(s *server) string {
	if s == nil {
		return "kernel"
	}
	return s.name
}

// hotReads reads each file as fast as it can be, file by file, so that the
// server's CPU time is known for each.
func (b *bench) hotReads(s *server, id string, readers int) (result, error) {
	r := result{peer: peerName(s)}
	for _, f := range files {
		before, err := b.serverCPU(s)
		if err != nil {
			return r, err
		}
		ls, err := b.reader(s, id, readerSpec{Files: []string{f}, Readers: readers, Reads: b.reads / readers})
		if err != nil {
			return r, err
		}
		after, err := b.serverCPU(s)
		if err != nil {
			return r, err
		}
		r.latencies = append(r.latencies, ls...)
		r.serverCPU = append(r.serverCPU, (after-before)*100000/time.Duration(ls[0].Reads))
	}
	return r, nil
}

// slowReads runs one reader of each peer that reads about once a second, at the
// same time.
func (b *bench) slowReads(id string, unsteady bool, peers ...*server) ([]result, error) {
	out := make([]result, len(peers))
	errs := make(chan error, len(peers))
	for i, p := range peers {
		go func() {
			// Apart by a third of a second: no reader wakes the machine for another.
			time.Sleep(time.Duration(i) * 333 * time.Millisecond)
			ls, err := b.reader(p, id, readerSpec{Files: files, Readers: 1, Reads: b.samples, Every: time.Second, Unsteady: unsteady})
			out[i] = result{peer: peerName(p), latencies: ls}
			errs <- err
		}()
	}
	var err error
	for range peers {
		err = errors.Join(err, <-errs)
	}
	return out, err
}

// memory registers and reads many containers and takes each server's RSS.
func (b *bench) memory(reg *registry.Dir, lxcfs, viewd *server) error {
	b.rss = map[string]int64{}
	var held []*exec.Cmd
	release := func() {
		for _, c := range held {
			c.Process.Kill()
			c.Wait()
		}
	}
	defer release()
	for i := range b.containers {
		id := "bench" + strconv.Itoa(i+1)
		paths, err := b.cg.make(id)
		if err != nil {
			return err
		}
		if err := register(reg, id, paths, limitCPUs, limitMemory); err != nil {
			return err
		}
		for _, s := range []*server{lxcfs, viewd} {
			cmd, _, err := b.startReader(s, id, id, readerSpec{Files: files, Readers: 1, Reads: 1, Hold: true})
			if err != nil {
				return err
			}
			held = append(held, cmd)
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

func (b *bench) serverCPU(s *server) (time.Duration, error) {
	if s == nil {
		return 0, nil
	}
	sub := "viewd"
	if s.name == "lxcfs" {
		sub = "lxcfs"
	}
	ns, err := b.cg.cpuNanos(sub)
	return time.Duration(ns), err
}

// reader runs one reader process to its end.
func (b *bench) reader(s *server, id string, spec readerSpec) ([]latency, error) {
	cmd, ls, err := b.startReader(s, id, "container", spec)
	if err != nil {
		return nil, err
	}
	return ls, cmd.Wait()
}

// startReader runs a reader in cgroup sub, and returns when it has read.
func (b *bench) startReader(s *server, id, sub string, spec readerSpec) (*exec.Cmd, []latency, error) {
	if s != nil {
		spec.Root = s.root(id)
	}
	arg, err := json.Marshal(spec)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(b.ctx, "/proc/self/exe", "reader", "-spec", string(arg))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	var ls []latency
	err = b.cg.enter(sub, cmd.Process.Pid)
	if err == nil {
		_, err = in.Write([]byte("\n"))
	}
	if err == nil {
		err = json.NewDecoder(out).Decode(&ls)
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, nil, fmt.Errorf("reader of %s: %w: %s", peerName(s), err, stderr.String())
	}
	return cmd, ls, nil
}
