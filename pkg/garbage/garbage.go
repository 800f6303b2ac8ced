// Package garbage collects a process's garbage while nobody waits for it.
//
// A collection begins when much has been allocated: in a process that does most
// of its work for those who wait for an answer, just then, on the CPU that this
// needs. So there is room for some garbage, and it is collected between: once a
// second if it is more than a little, as on a node that makes containers, and not
// where collections begin by themselves as often, as with many logs.
package garbage

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/truesize/truesize/pkg/pulse"
)

// little is what is left alone between, in bytes.
const little = 1 << 20

// Collect collects garbage until ctx ends, whose error it then returns. The heap
// may grow by room, in bytes, before a collection begins by itself, or by percent
// of what is alive, if that is more ([debug.SetGCPercent]). Where the environment
// says that (GOGC), it is left as it is.
func Collect(ctx context.Context, room uint64, percent int) error {
	c := newCollector(room, percent)
	for {
		c.round()
		if err := pulse.Wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

type collector struct {
	room    uint64
	least   int // percent
	samples [3]metrics.Sample
	cycles  uint64 // that began by themselves, when it was last looked
	percent int    // as set last
	fixed   bool   // by the environment
}

func newCollector(room uint64, percent int) *collector {
	c := &collector{room: room, least: percent, fixed: os.Getenv("GOGC") != ""}
	c.samples[0].Name = "/gc/heap/live:bytes"
	c.samples[1].Name = "/memory/classes/heap/objects:bytes"
	c.samples[2].Name = "/gc/cycles/automatic:gc-cycles"
	return c
}

func (c *collector) round() {
	metrics.Read(c.samples[:])
	live, objects, cycles := c.samples[0].Value.Uint64(), c.samples[1].Value.Uint64(), c.samples[2].Value.Uint64()
	c.makeRoom(live)
	if cycles == c.cycles && objects > live+little {
		runtime.GC()
	}
	c.cycles = cycles
}

// makeRoom lets the heap grow as far as it may. To change that stops the process
// for a moment, so it is done when it matters.
func (c *collector) makeRoom(live uint64) {
	percent := max(c.least, int(c.room*100/max(live, 1<<20)))
	if c.fixed || percent > c.percent*9/10 && percent < c.percent*11/10 {
		return
	}
	c.percent = percent
	debug.SetGCPercent(percent)
}
