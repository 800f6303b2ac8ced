package runtimes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/size"
	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// node is the stack of all tests.
var node *stack.Stack

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "runtimes:", err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	repo, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return 1, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	progress := func(step string) { fmt.Println(step) }
	archives, err := image.EnsureRuntimes(ctx, filepath.Join(repo, "run", "images"), progress)
	if err != nil {
		return 1, err
	}
	if node, err = stack.Start(ctx, stack.Options{Repo: repo, Progress: progress}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, node.Stop()) }()
	for _, archive := range archives {
		if err := node.LoadImage(ctx, archive); err != nil {
			return 1, err
		}
	}
	if err := node.StartAgent(ctx); err != nil {
		return 1, err
	}
	done := make(chan int, 1)
	go func() { done <- m.Run() }()
	select {
	case code = <-done:
		return code, nil
	case <-ctx.Done():
		return 1, errors.New("interrupted")
	}
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// TestMatrix asks every program in a container sized by its limits, without
// and with a CPU set, and in one that an annotation makes larger than this
// node in CPUs: the programs of Debian 12, and later versions of some.
func TestMatrix(t *testing.T) {
	probes := programs(t)
	for _, tt := range []struct {
		name string
		size size.Size
		spec stack.Spec
		rows []row
	}{
		{"limits of 1 CPU and 512 MiB", size.Size{CPUs: 1, Memory: 512 * mib}, stack.Spec{CPUMilli: 1000, Memory: 512 * mib}, static},
		{"limits of 1 CPU and 512 MiB, CPU set", size.Size{CPUs: 1, Memory: 512 * mib}, stack.Spec{
			CPUMilli: 1000, Memory: 512 * mib, Annotations: map[string]string{"truesize.dev/cpuset": "true"}}, staticInCPUSet},
		{"annotations of 7 CPUs and 4 GiB", size.Size{CPUs: 7, Memory: 4 * gib}, stack.Spec{
			Annotations: map[string]string{"truesize.dev/cpus": "7", "truesize.dev/memory": "4Gi"}}, static},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for ref, rows := range map[string][]row{
				image.Runtimes: append(slices.Clone(rows), tt.rows...),
				image.Newer:    newer,
			} {
				spec := tt.spec
				spec.Image = ref
				spec.Mounts = []stack.Mount{{Source: probes, Target: "/probes", ReadOnly: true}}
				c := start(t, spec)
				if out, err := c.Shell(t.Context(), "javac -d /tmp /probes/Sizes.java 2>&1"); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				for _, r := range rows {
					r.check(t, c, tt.size)
				}
			}
		})
	}
}

// start runs a container for the length of the test.
func start(t *testing.T, spec stack.Spec) *stack.Container {
	t.Helper()
	c, err := node.Run(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// check prints each answer, and reports those that are neither the size nor
// the exception's.
func (r row) check(t *testing.T, c *stack.Container, s size.Size) {
	out, err := c.Shell(t.Context(), r.command)
	if err != nil {
		t.Errorf("%s: %v\n%s", r.program, err, out)
		return
	}
	for _, cell := range r.cells {
		got, want := cell.read(out), cell.want(s)
		name := strings.TrimSpace(r.program + " " + cell.name)
		switch {
		case got != want:
			t.Errorf("%-50s %14s, want %s %s", name, got, want, cell.exception)
		default:
			t.Logf("%-50s %14s  %s", name, got, cell.exception)
		}
	}
}

// read finds the cell's value in a program's output.
func (c cell) read(out string) string {
	if c.name == "" {
		return strings.TrimSpace(out)
	}
	for line := range strings.Lines(out) {
		if value, ok := strings.CutPrefix(line, c.name+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("no %s in %q", c.name, out)
}

// programs compiles the test's own programs into a directory, and returns it.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"gcc -O1 -fopenmp -o gomp gomp.c",
		"g++ -O1 -pthread -o concurrency concurrency.cc",
		"rustc -O -o parallelism parallelism.rs",
		"gcc -O1 -o libc-glibc libc.c",
		"gcc -O1 -o watch watch.c",
		"musl-gcc -O1 -o libc-musl libc.c",
		"musl-gcc -O1 -static -o libc-static libc.c",
		"go build -o goprocs/goprocs goprocs/main.go",
		"CGO_ENABLED=1 go build -o goprocs/cgo/cgo goprocs/cgo/main.go",
	} {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v (install the packages of test/packages.txt)\n%s", line, err, out)
		}
	}
	return dir
}
