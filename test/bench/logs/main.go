// Command logs measures log forwarders against each other: the same files, the
// same broker, the same compression, one run. It prints for each how many
// bytes of files a second of its CPU time carries to the broker, from the
// first byte read to the last record acknowledged.
//
// The forwarders are programs: this module's cmd/collector (an OpenTelemetry
// collector), Debian's rsyslogd with rsyslog-kafka, and the repository's
// test/logsd. In the repository's root:
//
//	apt-get install rsyslog-kafka
//	go build -o bin/ ./test/logsd ./test/kafkad
//	(cd test/bench/logs && go build -o ../../../bin/logs-bench . && go build -o ../../../bin/ ./cmd/collector)
//	bin/logs-bench -bin bin
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	bin, dir    string
	megabytes   int
	files       int
	rounds      int
	compression string
	idleFiles   int
	out         io.Writer
	pods        string
	bytes       int64
	lines       int64
}

func run(args []string, out io.Writer) error {
	b := &bench{out: out}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&b.bin, "bin", "bin", "directory with logsd, kafkad and collector")
	fs.IntVar(&b.megabytes, "mb", 192, "megabytes of log files")
	fs.IntVar(&b.files, "files", 10, "log files")
	fs.IntVar(&b.rounds, "rounds", 3, "runs of each forwarder; the median counts")
	fs.StringVar(&b.compression, "compression", "lz4", "lz4, snappy or zstd")
	fs.IntVar(&b.idleFiles, "idle", 500, "quiet files of the idle run; 0 leaves it out")
	only := fs.String("only", "truesize,collector,rsyslog", "forwarders to run")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if b.dir, err = os.MkdirTemp("", "truesize-bench-logs"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.pods = filepath.Join(b.dir, "pods")
	if err := b.generate(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d MB of CRI logs in %d files, %d lines, %s, median of %d\n\n", b.bytes/1e6, b.files, b.lines, b.compression, b.rounds)
	fmt.Fprintf(out, "%-12s %14s %10s %10s %10s\n", "forwarder", "MB/CPU-second", "CPU s", "wall s", "RSS MiB")
	for _, name := range strings.Split(*only, ",") {
		if err := b.measure(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if b.idleFiles > 0 {
		fmt.Fprintf(out, "\nidle, %d quiet files, 20 s\n%-12s %14s %10s\n", b.idleFiles, "forwarder", "CPU %", "RSS MiB")
		for _, name := range strings.Split(*only, ",") {
			if err := b.idle(name); err != nil {
				return fmt.Errorf("%s idle: %w", name, err)
			}
		}
	}
	return nil
}

// generate writes logs as several kinds of programs write them.
func (b *bench) generate() error {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b.files {
		dir := filepath.Join(b.pods, fmt.Sprintf("shop_web-%d_0b1c2d3e-%04d", i, i), "app")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(dir, "0.log"))
		if err != nil {
			return err
		}
		w := bufio.NewWriterSize(f, 1<<20)
		at := time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)
		for size := 0; size < b.megabytes*1e6/b.files; {
			at = at.Add(time.Duration(r.IntN(3_000_000)))
			n, err := fmt.Fprintf(w, "%s %s F %s\n", at.Format(time.RFC3339Nano), [...]string{"stdout", "stdout", "stdout", "stderr"}[r.IntN(4)], line(r, i, at))
			if err != nil {
				return err
			}
			size += n
			b.bytes += int64(n)
			b.lines++
		}
		if err := errors.Join(w.Flush(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// line makes a line as one of four kinds of programs writes it.
func line(r *rand.Rand, file int, at time.Time) string {
	words := [...]string{"order", "customer", "payment", "session", "inventory", "shipment", "created", "updated", "for", "with", "failed", "timeout"}
	w := func() string { return words[r.IntN(len(words))] }
	switch file % 4 {
	case 0: // a Java service
		return fmt.Sprintf("%s %-5s [http-nio-8080-exec-%d] c.e.shop.%sController - %s %d %s %s %s in %d ms",
			at.Format("2006-01-02 15:04:05.000"), [...]string{"INFO", "INFO", "WARN", "DEBUG", "ERROR"}[r.IntN(5)], r.IntN(50), w(), w(), r.IntN(1e6), w(), w(), w(), r.IntN(2000))
	case 1: // an access log
		return fmt.Sprintf(`10.%d.%d.%d - - [%s] "GET /api/v1/%s/%d?%s=%d HTTP/1.1" %d %d "https://shop.example.com/%s" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36" %d`,
			r.IntN(256), r.IntN(256), r.IntN(256), at.Format("02/Jan/2006:15:04:05 -0700"), w(), r.IntN(1e5), w(), r.IntN(100), [...]int{200, 200, 304, 404, 500}[r.IntN(5)], r.IntN(50000), w(), r.IntN(500))
	case 2: // structured
		return fmt.Sprintf(`{"level":"info","ts":%d.%06d,"caller":"%s/%s.go:%d","msg":"%s %s","trace":"%016x","took":%d}`,
			at.Unix(), r.IntN(1e6), w(), w(), r.IntN(500), w(), w(), r.Uint64(), r.IntN(1000))
	}
	return fmt.Sprintf("level=info component=%s msg=\"%s %s %s\" id=%d duration=%dms", w(), w(), w(), w(), r.IntN(1e6), r.IntN(100))
}

// A usage is what a process has used.
type usage struct {
	cpu time.Duration
	rss int64
}

func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	user, _ := strconv.ParseInt(f[11], 10, 64)
	sys, _ := strconv.ParseInt(f[12], 10, 64)
	pages, _ := strconv.ParseInt(f[21], 10, 64)
	return usage{time.Duration(user+sys) * 10 * time.Millisecond, pages * int64(os.Getpagesize())}, nil
}

// A proc is a program that is running.
type proc struct {
	cmd *exec.Cmd
	log string
}

func start(dir, name string, args ...string) (*proc, error) {
	log, err := os.Create(filepath.Join(dir, filepath.Base(name)+".out"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	return &proc{c, log.Name()}, nil
}

func (p *proc) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// broker starts a broker with an empty topic.
func (b *bench) broker(dir string) (*proc, string, error) {
	const port = "39092"
	p, err := start(dir, filepath.Join(b.bin, "kafkad"), "-ports", port, "-partitions", "6")
	if err != nil {
		return nil, "", err
	}
	addr := "127.0.0.1:" + port
	for range 200 {
		if n, err := count(addr); err == nil && n == 0 {
			return p, addr, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.stop()
	return nil, "", errors.New("the broker does not answer")
}

// count returns how many records are in the topic.
func count(addr string) (int64, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RequestRetries(0))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, "logs")
	if err != nil {
		return 0, err
	}
	var n int64
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, nil
}

type result struct {
	usage
	wall time.Duration
}

func (b *bench) measure(name string) error {
	var all []result
	for range b.rounds {
		r, err := b.once(name)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].cpu < all[j].cpu })
	m := all[len(all)/2]
	fmt.Fprintf(b.out, "%-12s %14.1f %10.2f %10.2f %10d\n", name, float64(b.bytes)/1e6/m.cpu.Seconds(), m.cpu.Seconds(), m.wall.Seconds(), m.rss>>20)
	return nil
}

func (b *bench) once(name string) (result, error) {
	dir, err := os.MkdirTemp(b.dir, name)
	if err != nil {
		return result{}, err
	}
	broker, addr, err := b.broker(dir)
	if err != nil {
		return result{}, err
	}
	defer broker.stop()
	begin := time.Now()
	p, err := b.forwarder(name, dir, addr, b.pods)
	if err != nil {
		return result{}, err
	}
	defer p.stop()
	var most int64
	for time.Since(begin) < 5*time.Minute {
		time.Sleep(100 * time.Millisecond)
		u, err := usageOf(p.cmd.Process.Pid)
		if err != nil {
			out, _ := os.ReadFile(p.log)
			return result{}, fmt.Errorf("it ended: %w\n%s", err, out)
		}
		most = max(most, u.rss)
		n, err := count(addr)
		if err != nil {
			continue
		}
		if n >= b.lines {
			return result{usage{u.cpu, most}, time.Since(begin)}, nil
		}
	}
	n, _ := count(addr)
	out, _ := os.ReadFile(p.log)
	return result{}, fmt.Errorf("%d of %d records after 5 minutes\n%s", n, b.lines, out)
}

// idle measures a forwarder of files that nobody writes.
func (b *bench) idle(name string) error {
	dir, err := os.MkdirTemp(b.dir, name+"-idle")
	if err != nil {
		return err
	}
	pods := filepath.Join(dir, "pods")
	for i := range b.idleFiles {
		d := filepath.Join(pods, fmt.Sprintf("shop_quiet-%d_0b1c2d3e-%04d", i, i), "app")
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		var s strings.Builder
		for j := range 20 {
			fmt.Fprintf(&s, "2024-05-01T10:00:00.%09dZ stdout F one of some lines that were written long ago, number %d of file %d\n", j, j, i)
		}
		if err := os.WriteFile(filepath.Join(d, "0.log"), []byte(s.String()), 0o644); err != nil {
			return err
		}
	}
	broker, addr, err := b.broker(dir)
	if err != nil {
		return err
	}
	defer broker.stop()
	p, err := b.forwarder(name, dir, addr, pods)
	if err != nil {
		return err
	}
	defer p.stop()
	time.Sleep(15 * time.Second)
	before, err := usageOf(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	const span = 20 * time.Second
	time.Sleep(span)
	after, err := usageOf(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	n, _ := count(addr)
	fmt.Fprintf(b.out, "%-12s %14.2f %10d   (%d records)\n", name, 100*(after.cpu-before.cpu).Seconds()/span.Seconds(), after.rss>>20, n)
	return nil
}
