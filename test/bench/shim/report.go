package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// The figures to reach.
const (
	maxExec     = 20 * time.Microsecond
	maxDirtyKiB = 16
	maxJavaCall = 20.0 // ns
	maxJVMStart = 1.01 // of no preload
)

// A report is the Markdown section of a run.
type report struct {
	strings.Builder
	missed []string // figures
}

// A missedError lists the figures that were not reached.
type missedError struct {
	figures []string
}

func (e *missedError) Error() string { return "missed: " + strings.Join(e.figures, "; ") }

func (r *report) check(ok bool, figure string) {
	if !ok {
		r.missed = append(r.missed, figure)
	}
}

// measure makes the section. It is whole where figures were missed.
func (b *bench) measure(execs, starts int) (*report, error) {
	r := new(report)
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Fprintf(r, `## Shim

Written by `+"`make bench`"+` on %s, kernel %s, %d CPUs: programs with nothing
preloaded, with libtruesize.so, and with a c-shared object in Go (cgo) that answers
the same, in one run, taking turns. The size page says what the machine has, so
that programs do the same with it as without.

`, time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(string(release)), runtime.NumCPU())
	if err := b.programs(r, execs, starts); err != nil {
		return nil, err
	}
	return r, b.functions(r)
}

// programs measures what whole processes pay.
func (b *bench) programs(r *report, execs, starts int) error {
	times, err := b.startTimes([]string{"/bin/true"}, execs, variants...)
	if err != nil {
		return err
	}
	dirty := make(map[string]int)
	for _, v := range variants {
		if dirty[v], err = b.memory(v); err != nil {
			return err
		}
	}
	plain := times["none"]
	added := func(v string, percent int) time.Duration { return at(times[v], percent) - at(plain, percent) }
	r.check(added("truesize", 50) <= maxExec, "/bin/true at most 20 µs longer")
	r.check(dirty["truesize"]-dirty["none"] <= maxDirtyKiB, "at most 16 KiB of private dirty memory")
	java, err := b.jvm(r, starts)
	if err != nil {
		return err
	}
	r.table(func(row func(...string)) {
		row("", "no preload", "truesize", "Go, c-shared", "goal")
		row(fmt.Sprintf("`/bin/true`, fork to exit, median of %d", execs), at(plain, 50).String(),
			plus(added("truesize", 50)), plus(added("cgo", 50)), "at most +20µs")
		row("its 10th percentile", at(plain, 10).String(),
			plus(added("truesize", 10)), plus(added("cgo", 10)), "")
		row("private dirty memory after a call of everything, median of 15", fmt.Sprintf("%d KiB", dirty["none"]),
			fmt.Sprintf("%+d KiB", dirty["truesize"]-dirty["none"]), fmt.Sprintf("%+d KiB", dirty["cgo"]-dirty["none"]), "at most +16 KiB")
		for _, cells := range java {
			row(cells...)
		}
	})
	return nil
}

// plus writes what is added to a time.
func plus(d time.Duration) string {
	if d < 0 {
		return d.String()
	}
	return "+" + d.String()
}

// jvm measures the JVM and returns the table's rows, none without a JVM.
func (b *bench) jvm(r *report, starts int) (rows [][]string, err error) {
	java, err := exec.LookPath("java")
	if err != nil || b.classDir == "" || starts == 0 {
		fmt.Fprint(r, "There was no JVM to measure.\n\n")
		return nil, nil
	}
	calls := []string{"`availableProcessors()` in Java"}
	for _, v := range variants {
		ns, err := b.javaCall(v)
		if err != nil {
			return nil, err
		}
		r.check(v != "truesize" || ns <= maxJavaCall, "availableProcessors() at most 20 ns")
		calls = append(calls, fmt.Sprintf("%.1f ns", ns))
	}
	times, err := b.startTimes([]string{java, "-version"}, starts, "none", "truesize")
	if err != nil {
		return nil, err
	}
	ratio := float64(at(times["truesize"], 50)) / float64(at(times["none"], 50))
	r.check(ratio <= maxJVMStart, "JVM start at most 1 % longer")
	return [][]string{append(calls, "at most 20 ns"), {fmt.Sprintf("`java -version`, median of %d", starts),
		at(times["none"], 50).Round(10 * time.Microsecond).String(), fmt.Sprintf("%.3f×", ratio), "", "at most 1.01×"}}, nil
}

// functions measures what each call pays, in C.
func (b *bench) functions(r *report) error {
	none, err := b.callCosts("none", 1_000_000)
	if err != nil {
		return err
	}
	with, err := b.callCosts("truesize", 1_000_000)
	if err != nil {
		return err
	}
	fmt.Fprint(r, "\nNanoseconds of a call in C, the best of 10 rounds.\n\n")
	r.table(func(row func(...string)) {
		row("", "no preload", "truesize")
		for _, name := range with.names {
			plain := ""
			if ns, ok := none.ns[name]; ok {
				plain = fmt.Sprintf("%.1f", ns)
			}
			row("`"+name+"`", plain, fmt.Sprintf("%.1f", with.ns[name]))
		}
	})
	return nil
}

// table writes a Markdown table whose first row is the heading.
func (r *report) table(rows func(row func(cells ...string))) {
	tw := tabwriter.NewWriter(r, 0, 0, 1, ' ', 0)
	heading := true
	rows(func(cells ...string) {
		fmt.Fprintf(tw, "| %s |\n", strings.Join(cells, "\t| "))
		if heading {
			fmt.Fprintf(tw, "|%s\n", strings.Repeat("---|", len(cells)))
			heading = false
		}
	})
	tw.Flush()
}
