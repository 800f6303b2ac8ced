// Command cpuset measures what a real CPU set does for a static program and
// what it costs, on a stack of its own. It prints its section of
// docs/benchmarks.md. Run it as root in the repository's root, after make ready.
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
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

func main() {
	out := flag.String("out", "", "file to write the section to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := write(ctx, *out); err != nil {
		fmt.Fprintln(os.Stderr, "cpuset:", err)
		os.Exit(1)
	}
}

// write runs the benchmark and writes its section.
func write(ctx context.Context, out string) error {
	var section strings.Builder
	if err := run(ctx, &section); err != nil {
		return err
	}
	fmt.Print(section.String())
	if out == "" {
		return nil
	}
	return os.WriteFile(out, []byte(section.String()), 0o644)
}

const (
	rounds = 5
	length = "2s"
	// others is how many containers are there when creations are measured.
	others = 20
)

// A mode is how the container of 1 CPU is told its size.
type mode struct{ name, annotation, command string }

var modes = []mode{
	{"neither", "false", "env -u GOMAXPROCS "},
	{"GOMAXPROCS", "false", ""},
	{"CPU set", "true", "env -u GOMAXPROCS "},
}

func run(ctx context.Context, w io.Writer) (err error) {
	repo, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	bin, err := os.MkdirTemp("", "cpuset-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	build := exec.CommandContext(ctx, "go", "build", "-o", bin+"/work", "./test/bench/cpuset/work")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build work: %w\n%s", err, out)
	}
	node, err := stack.Start(ctx, stack.Options{Repo: repo})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Stop()) }()
	if err := node.StartAgent(ctx); err != nil {
		return err
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Fprintf(w, `## CPU sets

Written by `+"`make bench`"+` on %s, kernel %s, %d CPUs: a static Go program in a
container limited to 1 CPU computes and leaves garbage on each thread that Go gives
it, medians of %d rounds of %s, in turns; *neither* is without the variable and
without a set.

| neighbours | told by | threads | pieces/s | p50 ms | p99 ms | throttled |
|---|---|---|---|---|---|---|
`, time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(string(release)), runtime.NumCPU(), rounds, length)
	for _, n := range []neighbours{
		{title: "none"},
		{title: "2 busy containers without a limit", commands: []string{busy, busy}},
		{title: "a busy and an idle container, both with CPU sets", commands: []string{busy, idle}, pinned: true},
	} {
		if err := effect(ctx, w, node, bin, n); err != nil {
			return err
		}
	}
	return cost(ctx, w, node)
}

// neighbours are the other containers of a measurement.
type neighbours struct {
	title    string
	commands []string // for sh
	pinned   bool     // of 1 CPU with a CPU set; else without a limit
}

const (
	busy = "while :; do :; done"
	idle = "sleep 86400"
)

// spec describes one that runs command.
func (n neighbours) spec(command string) stack.Spec {
	spec := stack.Spec{Image: image.Small, Command: []string{"sh", "-c", command}, Memory: 64 << 20}
	if n.pinned {
		spec.CPUMilli, spec.Annotations = 1000, map[string]string{"truesize.dev/cpuset": "true"}
	}
	return spec
}

// container runs one of 1 CPU.
func container(ctx context.Context, node *stack.Stack, m mode, mounts ...stack.Mount) (*stack.Container, error) {
	return node.Run(ctx, stack.Spec{
		Image: image.Small, CPUMilli: 1000, Memory: 256 << 20, Mounts: mounts,
		Annotations: map[string]string{"truesize.dev/cpuset": m.annotation},
	})
}

// effect measures the work done in each mode. The modes take turns.
func effect(ctx context.Context, w io.Writer, node *stack.Stack, bin string, n neighbours) (err error) {
	for _, command := range n.commands {
		c, err := node.Run(ctx, n.spec(command))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.Remove(ctx)) }()
	}
	results := make([][5][]float64, len(modes)) // by mode, column, round
	for range rounds {
		for i, m := range modes {
			c, err := container(ctx, node, m, stack.Mount{Source: bin, Target: "/bench", ReadOnly: true})
			if err != nil {
				return err
			}
			out, err := c.Shell(ctx, m.command+"/bench/work "+length)
			if err := errors.Join(err, c.Remove(ctx)); err != nil {
				return err
			}
			for column, field := range strings.Fields(out) {
				v, err := strconv.ParseFloat(field, 64)
				if err != nil {
					return err
				}
				results[i][column] = append(results[i][column], v)
			}
		}
	}
	for i, m := range modes {
		fmt.Fprintf(w, "| %s | %s |", n.title, m.name)
		for _, column := range results[i] {
			fmt.Fprintf(w, " %v |", median(column))
		}
		fmt.Fprintln(w)
	}
	return nil
}

// cost measures a creation's request with and without CPU sets among others
// that have one, and the moves that follow when half of these go.
func cost(ctx context.Context, w io.Writer, node *stack.Stack) error {
	var list []*stack.Container
	for range others {
		c, err := container(ctx, node, modes[2])
		if err != nil {
			return err
		}
		list = append(list, c)
	}
	fmt.Fprintf(w, "\nThe agent's answer to a creation, with %d containers that have CPU sets:\n", others)
	for i, m := range modes[1:] {
		sum, count, err := requests(ctx, node)
		if err != nil {
			return err
		}
		for range 2 * rounds {
			c, err := container(ctx, node, m)
			if err != nil {
				return err
			}
			if err := c.Remove(ctx); err != nil {
				return err
			}
		}
		sum2, count2, err := requests(ctx, node)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s %.1f ms%s", m.name, (sum2-sum)/(count2-count)*1000, []string{", ", ".\n"}[i])
	}
	for _, c := range list {
		cpus, err := c.Shell(ctx, "awk '/^Cpus_allowed_list:/ {print $2}' /proc/self/status")
		if err != nil {
			return err
		}
		if cpus == "0" {
			if err := c.Remove(ctx); err != nil {
				return err
			}
		}
	}
	logs, err := os.ReadFile(filepath.Join(node.LogDir(), "truesized.log"))
	if err != nil {
		return err
	}
	var moves []float64
	for _, m := range regexp.MustCompile(`"container moved".*"milliseconds":([0-9.]+)`).FindAllSubmatch(logs, -1) {
		v, _ := strconv.ParseFloat(string(m[1]), 64)
		moves = append(moves, v)
	}
	fmt.Fprintf(w, "Those on CPU 0 go: %d others move, each by a call of the runtime, median %.1f ms.\n", len(moves), median(moves))
	return nil
}

// requests returns the sum and the number of the creations' durations.
func requests(ctx context.Context, node *stack.Stack) (sum, count float64, err error) {
	body, err := node.Get(ctx, "/metrics")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, _ := strconv.ParseFloat(value, 64)
		switch name {
		case `truesize_nri_request_duration_seconds_sum{request="CreateContainer"}`:
			sum = v
		case `truesize_nri_request_duration_seconds_count{request="CreateContainer"}`:
			count = v
		}
	}
	return sum, count, nil
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
