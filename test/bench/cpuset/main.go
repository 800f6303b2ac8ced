// Command cpuset measures what a real CPU set does for a static program and
// what it costs, on a stack of its own. It prints the tables of the decision
// on CPU sets. Run it as root in the repository's root, after make ready.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cpuset:", err)
		os.Exit(1)
	}
}

const (
	rounds = 5
	length = "3s"
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

func run(ctx context.Context) (err error) {
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
	for _, n := range []neighbours{
		{title: "alone"},
		{title: "beside 2 busy containers without a limit", commands: []string{busy, busy}},
		{title: "on 2 CPUs, beside a busy and an idle container with CPU sets", commands: []string{busy, idle}, pinned: true},
	} {
		if err := effect(ctx, node, bin, n); err != nil {
			return err
		}
	}
	return cost(ctx, node)
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
func effect(ctx context.Context, node *stack.Stack, bin string, n neighbours) (err error) {
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
	fmt.Printf("\n%s | threads | pieces/s | p50 ms | p99 ms | throttled\n", n.title)
	for i, m := range modes {
		fmt.Printf("%s", m.name)
		for _, column := range results[i] {
			fmt.Printf(" | %v", median(column))
		}
		fmt.Println()
	}
	return nil
}

// cost measures a creation's request with and without CPU sets among others
// that have one, and the moves that follow when half of these go.
func cost(ctx context.Context, node *stack.Stack) error {
	var list []*stack.Container
	for range others {
		c, err := container(ctx, node, modes[2])
		if err != nil {
			return err
		}
		list = append(list, c)
	}
	fmt.Printf("\nagent's answer to a creation, %d containers with CPU sets there\n", others)
	for _, m := range modes[1:] {
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
		fmt.Printf("%s | %.1f ms\n", m.name, (sum2-sum)/(count2-count)*1000)
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
	fmt.Printf("\n%d moves, median %.1f ms\n", len(moves), median(moves))
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
