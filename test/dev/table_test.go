package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/truesize/truesize/test/stack"
)

// answers is a place that answers every command line alike.
type answers string

func (a answers) Shell(context.Context, string) (string, error) {
	if a == "" {
		return "", errors.New("broken")
	}
	return string(a), nil
}

func TestTable(t *testing.T) {
	table := compare(t.Context(), answers("64"), answers("64"), answers("1"))
	if err := table.err(); err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(table.String()), "\n")
	if len(lines) != len(questions)+2 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, want := range []string{
		"| what                       | node | plain container | with truesize |",
		"|----------------------------|------|-----------------|---------------|",
		"| nproc                      | 64   | 64              | 1             |",
	} {
		if lines[i] != want {
			t.Errorf("line %d: got %q, want %q", i, lines[i], want)
		}
	}
}

// TestTableFailures checks that an answer that is none is an error, and that
// the table is there all the same.
func TestTableFailures(t *testing.T) {
	for name, place := range map[string]answers{"error": "", "two lines": "1\n2"} {
		table := compare(t.Context(), answers("1"), place)
		if table.err() == nil {
			t.Errorf("%s: no error", name)
		}
		if !strings.Contains(table.String(), "| failed ") {
			t.Errorf("%s: the table hides it:\n%s", name, table)
		}
	}
}

// TestInterrupted checks that an interrupt hides no failure to clean up.
func TestInterrupted(t *testing.T) {
	failed := errors.New("cannot start")
	left := errors.Join(failed, fmt.Errorf("%w: a mount", stack.ErrLeft))
	ctx, cancel := context.WithCancel(t.Context())
	if got := interrupted(ctx, failed); got != failed {
		t.Errorf("not interrupted: %v", got)
	}
	cancel()
	if got := interrupted(ctx, failed); got == nil || !strings.Contains(got.Error(), "everything was taken down") {
		t.Errorf("interrupted: %v", got)
	}
	if got := interrupted(ctx, left); got != left {
		t.Errorf("interrupted, and something is left: %v", got)
	}
	if got := interrupted(ctx, nil); got != nil {
		t.Errorf("done when the signal came: %v", got)
	}
}

// TestFailedUp checks that nothing describes a stack that is not up.
func TestFailedUp(t *testing.T) {
	d := &dev{repo: t.TempDir(), out: new(strings.Builder)}
	err := errors.Join(os.Mkdir(filepath.Dir(d.envFile()), 0o755), os.WriteFile(d.envFile(), nil, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.up(ctx); err == nil {
		t.Error("up, in spite of the interrupt")
	}
	if _, err := os.Stat(d.envFile()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("dev.env: %v", err)
	}
}

func TestCommands(t *testing.T) {
	t.Chdir("../..")
	for _, args := range [][]string{nil, {"fly"}, {"run", "up"}} {
		err := run(t.Context(), args, nil, new(strings.Builder))
		if err == nil || !strings.Contains(err.Error(), "usage: dev") {
			t.Errorf("dev %q: %v", args, err)
		}
	}
	t.Chdir("test")
	if err := run(t.Context(), []string{"down"}, nil, new(strings.Builder)); err == nil {
		t.Error("runs in another directory than the repository's root")
	}
}
