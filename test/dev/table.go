package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/truesize/truesize/test/image"
)

// A question is a row of the table: a command line that prints one value.
type question struct {
	what, command string
}

// questions are what programs ask for when they size themselves, and what
// people look at.
var questions = []question{
	{"nproc", "nproc"},
	{"/proc/cpuinfo processors", "grep -c ^processor /proc/cpuinfo"},
	{"free -m, total", "free -m | awk '/^Mem:/ {print $2}'"},
	{"top, CPUs listed", "top -b -n 1 -1 -w 512 | grep -o '%Cpu[0-9]' | wc -l"},
	{"uptime", "uptime --pretty"},
	{"Node.js os.cpus().length", "node -p 'os.cpus().length'"},
	{"Node.js os.totalmem(), MiB", "node -p 'os.totalmem() / 1048576 | 0'"},
	{"Java availableProcessors()", "java -cp " + image.JavaClassPath + " Processors"},
	{"Python os.cpu_count()", "python3 -c 'import os; print(os.cpu_count())'"},
}

// A sheller runs command lines in one place.
type sheller interface {
	Shell(ctx context.Context, line string) (string, error)
}

// A table is the answers, a row for each question and a column for each
// place.
type table struct {
	rows [][]string
	errs []error
}

// compare asks every question in every place, the places in parallel.
func compare(ctx context.Context, places ...sheller) *table {
	t := &table{rows: make([][]string, len(questions)), errs: make([]error, len(places))}
	for i, q := range questions {
		t.rows[i] = make([]string, 1+len(places))
		t.rows[i][0] = q.what
	}
	var wg sync.WaitGroup
	for i, place := range places {
		wg.Go(func() {
			for row, q := range questions {
				answer, err := place.Shell(ctx, q.command)
				if err == nil && (answer == "" || strings.Contains(answer, "\n")) {
					err = fmt.Errorf("%s: answered %q", q.what, answer)
				}
				if err != nil {
					answer = "failed"
				}
				t.rows[row][1+i] = answer
				t.errs[i] = errors.Join(t.errs[i], err)
			}
		})
	}
	wg.Wait()
	return t
}

// err returns what went wrong in asking.
func (t *table) err() error { return errors.Join(t.errs...) }

// String lays the table out.
func (t *table) String() string {
	rows := append([][]string{{"what", "node", "plain container", "with truesize"}}, t.rows...)
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(&b, "| %-*s ", width[i], cell)
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, w := range width {
				b.WriteString("|" + strings.Repeat("-", w+2))
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}
