package logs

import (
	"fmt"
	"strings"
	"testing"
)

// Lines that never end, of many containers, do not add up in memory: above the
// bound they are cut, and all of their text arrives.
func TestHeldLinesAreBounded(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.Memory = 16 << 20 // 4 MiB for what is held
	r.start()
	part := "2024-05-01T10:00:00Z stdout P " + strings.Repeat("x", 16<<10) + "\n"
	const pods, parts = 20, 50 // 16 MiB
	for i := range pods {
		r.write(fmt.Sprintf("ns_p%d_u/app/0.log", i), strings.Repeat(part, parts))
	}
	held := func() int64 {
		n := make(chan int64, 1)
		r.c.loop.asks <- func() { n <- r.c.loop.held }
		return <-n
	}
	r.until("all is read", func() bool {
		if n := held(); n > 4<<20+1<<20 {
			t.Fatalf("%d bytes held, bound 4 MiB", n)
		}
		return r.status().Totals.ReadLines == pods*parts
	})
	for i := range pods {
		r.write(fmt.Sprintf("ns_p%d_u/app/0.log", i), "2024-05-01T10:00:00Z stdout F \n")
	}
	r.until("all has come", func() bool {
		n := 0
		for _, v := range r.out.values() {
			n += len(v)
		}
		return n == pods*parts*(16<<10)
	})
	r.settled()
	if n := held(); n != 0 {
		t.Errorf("%d bytes still counted as held", n)
	}
}
