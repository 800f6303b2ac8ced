// Package reads is a load of reads of the view, each checked: the reads of a
// container's programs, of which none may fail, be wrong, or wait for long.
// The reading is done by a process of its own, which is the test binary again.
package reads

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roleVar says that this process is to read.
const roleVar = "TRUESIZE_TEST_READS"

// Role does the reading, and ends the process, where this is one that [Start]
// has started.
func Role() {
	if os.Getenv(roleVar) == "" {
		return
	}
	if err := play(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Files are those of the view that are read, without their leading slash.
func Files() []string {
	return []string{
		"proc/meminfo", "proc/stat", "proc/uptime", "proc/loadavg", "proc/cpuinfo", "proc/swaps", "sys/devices/system/cpu/online",
	}
}

// A Report is what readers saw.
type Report struct {
	Reads   int64    // files opened, read to the end and closed
	Failed  int64    // that returned an error
	Wrong   int64    // whose content was not right
	Bounce  int64    // of the failed, those of an aborted connection
	Example []string // of each of those
	// Slow are the reads that took longer than the page cache does, as begin
	// and end in ns of CLOCK_MONOTONIC.
	Slow [][2]int64
	// Micros counts the reads by how many µs they took, up to the last.
	Micros []int64
}

const slowRead = int64(100 * time.Microsecond)

// A Target is a file and what must be in it.
type Target struct {
	Path string
	CPUs int
	KiB  uint64 // of memory
}

// play reads targets in threads until its input ends, and prints a
// report. Args: threads, pause in µs between two reads of a thread, targets in
// JSON.
func play(args []string) error {
	threads, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	pause, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var targets []Target
	if err := json.Unmarshal([]byte(args[2]), &targets); err != nil {
		return err
	}
	fmt.Println("reading")
	var (
		stop  atomic.Bool
		wg    sync.WaitGroup
		mu    sync.Mutex
		total Report
	)
	for i := range threads {
		wg.Go(func() {
			r := readAll(targets, i, time.Duration(pause)*time.Microsecond, &stop)
			mu.Lock()
			defer mu.Unlock()
			total.add(r)
		})
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop.Store(true)
	wg.Wait()
	return json.NewEncoder(os.Stdout).Encode(total)
}

func (r *Report) add(o Report) {
	r.Reads, r.Failed, r.Wrong, r.Bounce = r.Reads+o.Reads, r.Failed+o.Failed, r.Wrong+o.Wrong, r.Bounce+o.Bounce
	r.Slow = append(r.Slow, o.Slow...)
	if r.Micros == nil {
		r.Micros = make([]int64, len(o.Micros))
	}
	for i, k := range o.Micros {
		r.Micros[i] += k
	}
	if r.Example = append(r.Example, o.Example...); len(r.Example) > 10 {
		r.Example = r.Example[:10]
	}
}

func readAll(targets []Target, first int, pause time.Duration, stop *atomic.Bool) Report {
	r := Report{Micros: make([]int64, 20_000)}
	last := make([]seen, len(targets))
	buf := make([]byte, 64<<10)
	for i := first * 7; !stop.Load() || int(r.Reads) < len(targets); i++ {
		k := i % len(targets)
		begin := Now()
		data, err := readOnce(targets[k].Path, buf)
		end := Now()
		r.Reads++
		r.Micros[min(int(end-begin)/1000, len(r.Micros)-1)]++
		if end-begin > slowRead {
			r.Slow = append(r.Slow, [2]int64{begin, end})
		}
		switch {
		case err != nil:
			r.Failed++
			r.Example = append(r.Example, err.Error())
		default:
			if what := last[k].check(targets[k], data); what != "" {
				r.Wrong++
				r.Example = append(r.Example, fmt.Sprintf("%s: %s: %.100q", targets[k].Path, what, data))
			}
		}
		if pause > 0 {
			time.Sleep(pause)
		}
	}
	return r
}

func readOnce(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for n := 0; ; {
		k, err := unix.Read(fd, buf[n:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		case k == 0:
			return buf[:n], nil
		}
		n += max(k, 0)
	}
}

// Now returns CLOCK_MONOTONIC in ns, by which a [Report] tells times.
func Now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// seen is what a thread saw in a file last.
type seen struct {
	length int
	lines  int
	value  float64
}

// check returns what is wrong with the content of a file, empty when nothing
// is. What it saw before counts: lengths are constant, counters do not run
// backwards.
func (s *seen) check(t Target, data []byte) string {
	lines := bytes.Count(data, []byte{'\n'})
	if s.length != 0 && (len(data) != s.length || lines != s.lines) {
		return fmt.Sprintf("%d bytes in %d lines, were %d in %d", len(data), lines, s.length, s.lines)
	}
	s.length, s.lines = len(data), lines
	switch {
	case len(data) == 0:
		return "empty"
	case bytes.IndexByte(data, 0) >= 0:
		return "a NUL byte"
	case data[len(data)-1] != '\n':
		return "no newline at its end"
	}
	text := string(data)
	switch filepath.Base(t.Path) {
	case "meminfo":
		if f := strings.Fields(text); f[0] != "MemTotal:" || f[1] != strconv.FormatUint(t.KiB, 10) {
			return fmt.Sprintf("MemTotal is not %d", t.KiB)
		}
	case "online":
		want := "0\n"
		if t.CPUs > 1 {
			want = fmt.Sprintf("0-%d\n", t.CPUs-1)
		}
		if text != want {
			return "not " + want
		}
	case "cpuinfo":
		if n := strings.Count(text, "processor\t:"); n != t.CPUs {
			return fmt.Sprintf("%d processors, not %d", n, t.CPUs)
		}
	case "stat":
		if n := strings.Count(text, "\ncpu"); n != t.CPUs {
			return fmt.Sprintf("%d CPUs, not %d", n, t.CPUs)
		}
		return s.grows(strings.Fields(text)[1:9])
	case "uptime":
		return s.grows(strings.Fields(text)[:1])
	case "loadavg":
		if n := len(strings.Fields(text)); n != 5 {
			return fmt.Sprintf("%d fields", n)
		}
	}
	return ""
}

// grows checks that none of the numbers, of which the sum is kept, makes it
// run backwards.
func (s *seen) grows(fields []string) string {
	var sum float64
	for _, f := range fields {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return err.Error()
		}
		sum += v
	}
	if sum < s.value {
		return fmt.Sprintf("%v after %v", sum, s.value)
	}
	s.value = sum
	return ""
}

// Readers are threads that read, in a process of their own.
type Readers struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

// Start has threads read targets until [Readers.Stop]; prefix is the command
// that runs them elsewhere. A pause leaves the machine something to do
// besides. The test's TestMain must call [Role].
func Start(t *testing.T, prefix []string, threads int, pause time.Duration, targets []Target) *Readers {
	t.Helper()
	data, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(slices.Clone(prefix), exe, strconv.Itoa(threads), strconv.FormatInt(pause.Microseconds(), 10), string(data))
	r := &Readers{t: t, cmd: exec.Command(argv[0], argv[1:]...)}
	r.cmd.Env = append(os.Environ(), roleVar+"=1")
	r.cmd.Stderr = os.Stderr
	in, err := r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.in, r.out = in, bufio.NewReader(out)
	t.Cleanup(func() {
		in.Close()
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	})
	if line, err := r.out.ReadString('\n'); line != "reading\n" {
		t.Fatalf("readers do not start: %q, %v", line, err)
	}
	return r
}

// Stop ends the readers and returns what they saw.
func (r *Readers) Stop() Report {
	r.t.Helper()
	r.in.Close()
	var p Report
	if err := json.NewDecoder(r.out).Decode(&p); err != nil {
		r.t.Fatalf("readers: %v", err)
	}
	return p
}

// Clean fails the test for every read that failed or was wrong.
func (p Report) Clean(t *testing.T) {
	t.Helper()
	if p.Failed != 0 || p.Wrong != 0 || p.Reads == 0 {
		t.Errorf("%d reads: %d failed, %d wrong: %q", p.Reads, p.Failed, p.Wrong, p.Example)
	}
}

// Waits returns how long reads took that were under way within span of one of
// the moments, sorted; all slow ones when there are none.
func (p Report) Waits(moments []int64, span time.Duration) []time.Duration {
	var list []time.Duration
	for _, s := range p.Slow {
		if len(moments) == 0 || slices.ContainsFunc(moments, func(m int64) bool { return s[0] <= m+int64(span) && s[1] >= m }) {
			list = append(list, time.Duration(s[1]-s[0]))
		}
	}
	slices.Sort(list)
	return list
}

// Quantile returns how long a read took that is slower than the part q of all.
func (p Report) Quantile(q float64) time.Duration {
	var sum int64
	for us, k := range p.Micros {
		if sum += k; float64(sum) >= q*float64(p.Reads) {
			return time.Duration(us) * time.Microsecond
		}
	}
	return time.Duration(len(p.Micros)) * time.Microsecond
}

// quantile of sorted durations, 0 when there are none.
func quantile(list []time.Duration, q float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	return list[min(int(q*float64(len(list))), len(list)-1)]
}

// Figures logs a line of the table in docs/reliability.md: what was read while
// what happened at those moments, and what was counted.
func (p Report) Figures(t *testing.T, moments []int64, counted string) {
	t.Helper()
	w := p.Waits(moments, 50*time.Millisecond)
	t.Logf("FIGURES %s: %d events, %d reads, %d failed, %d wrong, reads across an event %d: p50 %v p99 %v longest %v; %s",
		t.Name(), len(moments), p.Reads, p.Failed, p.Wrong, len(w), quantile(w, 0.5).Round(time.Microsecond*10),
		quantile(w, 0.99).Round(10*time.Microsecond), quantile(w, 1).Round(10*time.Microsecond), counted)
}
