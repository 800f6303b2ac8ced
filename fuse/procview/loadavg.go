package procview

import (
	"math"
	"time"

	"github.com/truesize/truesize/fuse/layout"
)

// Loadavg is /proc/loadavg of a container (fs/proc/loadavg.c).
type Loadavg struct{ layout *layout.Layout }

// loadDigits holds the load of the 2^22 threads that a kernel can have.
const loadDigits = 7

// NewLoadavg returns the renderer.
func NewLoadavg() *Loadavg {
	return &Loadavg{oneLine(3*(loadDigits+3+1) + 2*(pidDigits+1) + pidDigits + 1)}
}

// Size returns the file's constant size in bytes.
func (l *Loadavg) Size() int { return l.layout.Size() }

// LoadTasks is what /proc/loadavg tells of tasks: the threads that run or
// could, all threads, and the last pid given out in the container's pid
// namespace.
type LoadTasks struct {
	Running, Total, LastPID int
}

// Append appends one snapshot.
func (l *Loadavg) Append(dst []byte, load Load, tasks LoadTasks) []byte {
	w := l.layout.Write(dst)
	for _, avg := range load.avg {
		writeHundredths(&w, uint64(avg*100+0.5), loadDigits)
		w.String(" ")
	}
	w.Uint(uint64(max(0, tasks.Running)), pidDigits)
	w.String("/")
	w.Uint(uint64(max(0, tasks.Total)), pidDigits)
	w.String(" ")
	w.Uint(uint64(max(0, tasks.LastPID)), pidDigits)
	w.End()
	return w.Done()
}

// Load is the three load averages, of 1, 5 and 15 minutes. Its zero value is
// that of a system that has just started. A copy is a snapshot.
type Load struct{ avg [3]float64 }

// The kernel samples each loadPeriod and keeps EXP_1, EXP_5, EXP_15 of 2048 of
// the averages (include/linux/sched/loadavg.h): roughly e^(-5s/1min) and so on.
const loadPeriod = 5 * time.Second

// Averages returns the averages over 1, 5 and 15 minutes.
func (l Load) Averages() [3]float64 { return l.avg }

// Add takes a count of active threads (running, able to, or waiting
// uninterruptibly), made elapsed after the last one. The averages decay as the
// kernel's do, over any interval.
func (l *Load) Add(active int, elapsed time.Duration) {
	periods := float64(max(0, elapsed)) / float64(loadPeriod)
	for i, exp := range [...]float64{1884, 2014, 2037} {
		decay := math.Pow(exp/2048, periods)
		l.avg[i] = l.avg[i]*decay + float64(max(0, active))*(1-decay)
	}
}
