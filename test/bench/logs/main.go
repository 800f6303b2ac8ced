// Command logs measures log forwarders against each other: the same files, the
// same broker, the same compression, one run. It prints for each how many
// bytes of files a second of its CPU time carries to the broker, from the
// first byte read to the last record acknowledged, what it costs when nothing
// is written, and how soon the first line of a new container is there. It
// writes its section of docs/benchmarks.md.
//
// The forwarders are programs, which it builds but for the last: the
// repository's test/logsd, this module's cmd/collector (an OpenTelemetry
// collector), and Debian's rsyslogd with rsyslog-kafka.
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
	"syscall"
)

// forwarders are run in this order. The first is ours.
var forwarders = []string{"truesize", "collector", "rsyslog"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A bench is one run and what it has found so far.
type bench struct {
	ctx         context.Context
	repo, bin   string
	dir         string
	megabytes   int
	files       int
	rounds      int
	compression string
	idleFiles   int
	starts      int
	out         io.Writer
	pods        string
	bytes       int64
	lines       int64

	loads map[string]load
	idles map[string]idle
}

func run(ctx context.Context, args []string, out io.Writer) error {
	b := &bench{ctx: ctx, out: out, loads: map[string]load{}, idles: map[string]idle{}}
	fs := flag.NewFlagSet("logs", flag.ContinueOnError)
	fs.StringVar(&b.repo, "repo", "../../..", "the repository")
	fs.IntVar(&b.megabytes, "mb", 192, "megabytes of log files")
	fs.IntVar(&b.files, "files", 10, "log files")
	fs.IntVar(&b.rounds, "rounds", 3, "runs of each forwarder; the median counts")
	fs.StringVar(&b.compression, "compression", "lz4", "lz4, snappy or zstd")
	fs.IntVar(&b.idleFiles, "idle", 500, "quiet files of the idle run")
	fs.IntVar(&b.starts, "starts", 20, "new containers whose first line is waited for")
	report := fs.String("out", "", "file for the report's section, empty for none")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if b.dir, err = os.MkdirTemp("", "truesize-bench-logs-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.build(); err != nil {
		return err
	}
	b.pods = filepath.Join(b.dir, "pods")
	if err := b.generate(); err != nil {
		return err
	}
	for round := range b.rounds { // in turns: what else the machine does falls on all
		for _, name := range forwarders {
			fmt.Fprintf(out, "forwarding %d MB, run %d of %d: %s\n", b.bytes/1e6, round+1, b.rounds, name)
			if err := b.load(name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	fmt.Fprintf(out, "idling with %d quiet files for %d s, then starting containers: all three\n",
		b.idleFiles, int((settle + span).Seconds()))
	if err := b.idle(); err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	text := b.report()
	fmt.Fprint(out, "\n"+text)
	if *report == "" {
		return nil
	}
	return os.WriteFile(*report, []byte(text), 0o644)
}

// build builds the programs as they are shipped: static and stripped.
func (b *bench) build() error {
	b.bin = filepath.Join(b.dir, "bin")
	if _, err := exec.LookPath(rsyslogd); err != nil {
		return errors.New("rsyslogd is not installed: apt-get install --no-install-recommends rsyslog-kafka")
	}
	fmt.Fprintln(b.out, "building the forwarders; the collector's first build takes minutes")
	for dir, packages := range map[string][]string{
		b.repo:                                   {"./test/logsd", "./test/kafkad"},
		filepath.Join(b.repo, "test/bench/logs"): {"./cmd/collector"},
	} {
		args := append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", b.bin + "/"}, packages...)
		cmd := exec.CommandContext(b.ctx, "go", args...)
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %v in %s: %w", packages, dir, err)
		}
	}
	return nil
}
