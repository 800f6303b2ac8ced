package procview

import (
	"time"

	"github.com/truesize/truesize/fuse/layout"
)

// Uptime is /proc/uptime of a container (fs/proc/uptime.c): the time since its
// init started, and the idle time of its CPUs together.
type Uptime struct{ layout *layout.Layout }

// uptimeWidth holds 300 years, and as many of 1,000 CPUs.
const uptimeWidth = 10 + 3 + 1 + 13 + 3 + 1

// NewUptime returns the renderer.
func NewUptime() *Uptime { return &Uptime{oneLine(uptimeWidth)} }

// oneLine is the layout of a line of the width, from 1 to 4096 bytes.
func oneLine(width int) *layout.Layout {
	l, err := layout.New([]int{width})
	if err != nil {
		panic(err) // a constant of this package
	}
	return l
}

// Size returns the file's constant size in bytes.
func (u *Uptime) Size() int { return u.layout.Size() }

// Append appends one snapshot: up since the container's start, 0 when that is
// negative, and the idle time of c.
func (u *Uptime) Append(dst []byte, up time.Duration, c *Counters) []byte {
	w := u.layout.Write(dst)
	writeHundredths(&w, micros(up)/10_000, 10)
	w.String(" ")
	writeHundredths(&w, c.IdleMicros()/10_000, 13)
	w.End()
	return w.Done()
}

// writeHundredths writes a number of hundredths with two decimals, of which
// the whole part has at most so many digits.
func writeHundredths(w *layout.Writer, n uint64, digits int) {
	w.Uint(n/100, digits)
	w.String(".")
	w.Uint(n%100/10, 1)
	w.Uint(n%10, 1)
}
