package procview

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/truesize/truesize/fuse/layout"
)

// Stat is /proc/stat of a container of so many CPUs (fs/proc/stat.c).
type Stat struct {
	cpus   int
	btime  uint64
	labels []byte // "cpu0 cpu1 …", where label i ends at ends[i]
	ends   []int
	layout *layout.Layout
}

// StatTasks is what /proc/stat tells of tasks.
type StatTasks struct {
	// Running and Blocked are the container's threads that run or could, and
	// that wait uninterruptibly.
	Running, Blocked int
}

// Fixed lines at the end of the file: no cgroup counts interrupts and context
// switches, and the host's would tell of others.
const (
	intrLine    = "intr 0"
	ctxtLine    = "ctxt 0"
	softirqLine = "softirq 0 0 0 0 0 0 0 0 0 0 0"
)

// NewStat takes the boot time from the host's file. It stays the host's: start
// times in /proc/PID/stat count from there, and ps(1) adds the two. The error
// wraps ErrFormat when the file has no btime.
func NewStat(host []byte, cpus int) (*Stat, error) {
	s := &Stat{cpus: max(1, cpus)}
	var ok bool
	if s.btime, ok = hostBtime(host); !ok {
		return nil, fmt.Errorf("stat: %w: no btime", ErrFormat)
	}
	widths := []int{cpuWidth(len("cpu "), totalDigits)}
	for i := range s.cpus {
		s.labels = append(s.labels, "cpu"...)
		s.labels = strconv.AppendInt(s.labels, int64(i), 10)
		s.ends = append(s.ends, len(s.labels))
		widths = append(widths, cpuWidth(len("cpu")+layout.Digits(uint64(i)), tickDigits))
	}
	btime := len("btime ") + layout.Digits(s.btime) + 1
	widths = append(widths, len(intrLine)+1, len(ctxtLine)+1, btime,
		len("processes ")+countDigits+1, len("procs_running ")+pidDigits+1, len("procs_blocked ")+pidDigits+1,
		len(softirqLine)+1)
	l, err := layout.New(widths)
	if err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	s.layout = l
	return s, nil
}

// pidDigits holds any number of threads: the kernel has at most 2^22.
const pidDigits = 7

// cpuWidth is the width of a CPU line with its label: five columns that count
// and five that are 0, each with a space before it, and the newline.
func cpuWidth(label, digits int) int { return label + columns*(1+digits) + 5*2 + 1 }

// hostBtime finds the line "btime 1795391260".
func hostBtime(host []byte) (uint64, bool) {
	for len(host) > 0 {
		var line []byte
		line, host = cutLine(host)
		if v, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			return parseUint(v)
		}
	}
	return 0, false
}

// Size returns the file's constant size in bytes.
func (s *Stat) Size() int { return s.layout.Size() }

// Append appends one snapshot.
func (s *Stat) Append(dst []byte, c *Counters, tasks StatTasks) []byte {
	w := s.layout.Write(dst)
	w.String("cpu ")
	writeTicks(&w, c.total, 1e6/userHZ, totalDigits)
	from := 0
	for i, end := range s.ends {
		w.B = append(w.B, s.labels[from:end]...)
		writeTicks(&w, c.cpu(i), 1e9/userHZ, tickDigits)
		from = end
	}
	w.String(intrLine)
	w.End()
	w.String(ctxtLine)
	w.End()
	writeCount(&w, "btime ", s.btime, countDigits)
	writeCount(&w, "processes ", c.Processes(), countDigits)
	writeCount(&w, "procs_running ", uint64(max(0, tasks.Running)), pidDigits)
	writeCount(&w, "procs_blocked ", uint64(max(0, tasks.Blocked)), pidDigits)
	w.String(softirqLine)
	w.End()
	return w.Done()
}

// writeTicks writes the ten columns of a CPU line in clock ticks, of which
// each is tick units of time long: user nice system idle iowait irq softirq
// steal guest guest_nice.
func writeTicks(w *layout.Writer, time [columns]uint64, tick uint64, digits int) {
	for _, col := range [...]int{user, nice, system, idle} {
		w.String(" ")
		w.Uint(time[col]/tick, digits)
	}
	w.String(" 0 0 0 ")
	w.Uint(time[steal]/tick, digits)
	w.String(" 0 0")
	w.End()
}

func writeCount(w *layout.Writer, label string, v uint64, digits int) {
	w.String(label)
	w.Uint(v, digits)
	w.End()
}
