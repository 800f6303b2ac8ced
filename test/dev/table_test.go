package main

import (
	"context"
	"errors"
	"strings"
	"testing"
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
