package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// report is the Markdown section of the run.
func (b *bench) report() string {
	var w strings.Builder
	fmt.Fprintf(&w, `## View

Written by `+"`make bench`"+` on %s, kernel %s, %d CPUs. The kernel's own file, lxcfs
(Debian's, with `+"`-l --enable-cfs`"+`) and the view are read in one run by a process in
a pid and a mount namespace of its own, in a cgroup of %d CPUs and %d MiB, at
/proc/FILE. A read is open, read to the end, close. Ratios are of the view to
the peer: below 1 the view is faster.

`, time.Now().UTC().Format("2006-01-02"), kernel(), runtime.NumCPU(), limitCPUs, limitMemory>>20)
	for i, h := range b.hot {
		fmt.Fprintf(&w, "### %s, as fast as they can\n\n"+
			"%d rounds; in each the peers take turns of %d ms, in another order. The ratio to the\n"+
			"kernel is the median of the rounds', with their quartiles.\n\n", hotCases[i].title, b.rounds, turn.Milliseconds())
		hotTable(&w, h)
	}
	if b.wants(partFloor) {
		fmt.Fprintf(&w, "### What may be mounted over /proc/%s, as fast as readers can\n\n"+
			"%d rounds; readers of one container, as above. What is constant shows what its file\n"+
			"system takes to open, read and close one file (docs/decisions/0009-cached-reads.md).\n\n", floorFile, b.rounds)
		b.floorTable(&w)
	}
	if b.wants(partPaced) {
		fmt.Fprintf(&w, "### One reader, once a second, %d reads of each file\n\n"+
			"Each read is the first after the freshness bound. At a steady pace, three of four\n"+
			"are prepared (docs/decisions/0006-prepared-reads.md).\n\n", b.samples)
		slowTable(&w, b.steady)
		fmt.Fprintf(&w, "### One reader, after half a second to one and a half, %d reads of each file\n\n"+
			"Each read is the first after the freshness bound, and none is foreseen: a GETATTR\n"+
			"and a READ.\n\n", b.samples)
		slowTable(&w, b.unsteady)
	}
	if b.wants(partMemory) {
		fmt.Fprintf(&w, "### Memory\n\nResident memory of the server after reading all five files in %d containers:\n"+
			"lxcfs %.1f MiB, truesize-viewd %.1f MiB.\n\n", b.containers, mib(b.rss["lxcfs"]), mib(b.rss["truesize"]))
	}
	if b.wants(partCreate) {
		b.creation.report(&w)
	}
	return w.String()
}

// hotTable writes the case of readers that do not pause.
func hotTable(w *strings.Builder, h hot) {
	table(w, func(t func(cells ...string)) {
		t("file", "kernel p50", "p99", "lxcfs p50", "p99", "truesize p50", "p99",
			"p50 to kernel", "quartiles", "p50 to lxcfs", "p99 to lxcfs", "server CPU per 100,000 reads: lxcfs", "truesize", "ratio")
		for i, f := range files {
			k, l, v := h.latencies[0][i], h.latencies[1][i], h.latencies[2][i]
			t(f, us(k.P50), us(k.P99), us(l.P50), us(l.P99), us(v.P50), us(v.P99),
				fmt.Sprintf("%.2f×", h.toKernel[i].median), h.toKernel[i].String(), ratio(v.P50, l.P50), ratio(v.P99, l.P99),
				fmt.Sprintf("%.3f s", h.serverCPU[1][i].Seconds()), fmt.Sprintf("%.3f s", h.serverCPU[2][i].Seconds()),
				ratio(h.serverCPU[2][i], h.serverCPU[1][i]))
		}
	})
}

// slowTable writes the case of readers that come about once a second.
func slowTable(w *strings.Builder, rs [][]latency) {
	table(w, func(t func(cells ...string)) {
		t("file", "kernel p50", "lxcfs p50", "truesize p50", "p50 to kernel", "p50 to lxcfs")
		for i, f := range files {
			k, l, v := rs[0][i], rs[1][i], rs[2][i]
			t(f, us(k.P50), us(l.P50), us(v.P50), ratio(v.P50, k.P50), ratio(v.P50, l.P50))
		}
	})
}

// table writes a Markdown table whose first row is the heading.
func table(w io.Writer, rows func(row func(cells ...string))) {
	tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	heading := true
	rows(func(cells ...string) {
		fmt.Fprintf(tw, "| %s |\n", strings.Join(cells, "\t| "))
		if heading {
			fmt.Fprintf(tw, "|%s\n", strings.Repeat("---|", len(cells)))
			heading = false
		}
	})
	tw.Flush()
	fmt.Fprintln(w)
}

func us(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d.Nanoseconds())/1000) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// ratio is a/b: "0.43×".
func ratio(a, b time.Duration) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g×", float64(a)/float64(b))
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		fmt.Fprintln(os.Stderr, "uname:", err)
	}
	return unix.ByteSliceToString(u.Release[:])
}
