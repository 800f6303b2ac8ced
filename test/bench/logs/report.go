package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// speed is how many megabytes of files a second of CPU time carries.
func (b *bench) speed(name string) float64 {
	return float64(b.bytes) / 1e6 / b.loads[name].median().cpu.Seconds()
}

// report is the Markdown section of the run.
func (b *bench) report() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	best := 0.0
	for _, peer := range forwarders[1:] {
		best = max(best, b.speed(peer))
	}
	var w strings.Builder
	fmt.Fprintf(&w, `## Logs

Written by `+"`make bench`"+` on %s, kernel %s, %d CPUs: %d MB of mixed CRI logs in %d
files, %d lines, to one broker in memory on the same machine, %s, acks=all, the
median of %d runs. CPU time is that of the forwarder's process until the broker
has every line. Ours sends JSON records with metadata; the OpenTelemetry collector
parses, and sends bare lines; rsyslog parses nothing and sends lines as they are.

`, time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(string(release)), runtime.NumCPU(),
		b.bytes/1e6, b.files, b.lines, b.compression, b.rounds)
	table(&w, func(row func(...string)) {
		row("", "MB of files per CPU-second", "to the best peer", "seconds", "RSS at most, MiB")
		for _, name := range forwarders {
			m := b.loads[name].median()
			row(title(name), fmt.Sprintf("%.1f", b.speed(name)), fmt.Sprintf("%.2f×", b.speed(name)/best),
				fmt.Sprintf("%.1f", m.wall.Seconds()), fmt.Sprintf("%.0f", mib(m.rss)))
		}
	})
	fmt.Fprintf(&w, "\nWith %d quiet files for %d s, and then %d new containers, one after another: the time\n"+
		"from making its log with one line to a consumer's having the record.\n\n", b.idleFiles, int(span.Seconds()), b.starts)
	table(&w, func(row func(...string)) {
		row("", "idle CPU, %", "idle RSS, MiB", "first line, median", "worst")
		for _, name := range forwarders {
			i := b.idles[name]
			row(title(name), fmt.Sprintf("%.2f", 100*i.cpu), fmt.Sprintf("%.1f", mib(i.rss)),
				ms(i.first[len(i.first)/2]), ms(i.first[len(i.first)-1]))
		}
	})
	return w.String()
}

func title(name string) string {
	switch name {
	case "collector":
		return "OpenTelemetry collector 0.160"
	case "rsyslog":
		return "rsyslog, omkafka"
	}
	return name
}

// table writes a Markdown table whose first row is the heading.
func table(w *strings.Builder, rows func(row func(cells ...string))) {
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
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000) }
