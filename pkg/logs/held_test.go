package logs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/logs/join"
	"github.com/truesize/truesize/pkg/logs/parse"
	"github.com/truesize/truesize/pkg/logs/quantity"
	"github.com/truesize/truesize/pkg/logs/record"
)

// Lines that never end, of many containers, do not add up in memory: above the
// bound they are cut, and all of their text arrives.
func TestHeldLinesAreBounded(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.Memory = 16 << 20 // 2 MiB for what is held
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
		if n := held(); n > 2<<20+1<<20 {
			t.Fatalf("%d bytes held, bound 2 MiB", n)
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

// What waits for its next line waits for the configured time, however rarely
// it gets a turn.
func TestWaitsByTime(t *testing.T) {
	out := newMemSink()
	c := &chain{dir: &dir{}}
	c.joiner = join.New(1<<10, func(int, []byte) (bool, int) { return false, 0 }, c)
	c.loop = newLoop(Config{MultilineTimeout: quantity.Duration(time.Second)}.withDefaults(t.TempDir()), Options{}, out, 1<<20)
	c.loop.now = time.Unix(1000, 0)
	c.idleAt, c.program = c.loop.now, rawProgram(t)
	c.joiner.Add(&join.Line{Line: parse.Line{Text: []byte("first")}})
	for _, seconds := range []int{0, 0, 2} { // one turn in two seconds
		if n := len(out.values()); n != 0 {
			t.Fatalf("%d records before the time is up", n)
		}
		c.loop.now = c.loop.now.Add(time.Duration(seconds) * time.Second)
		c.loop.idle(c)
	}
	if got := out.values(); len(got) != 1 || got[0] != "first" {
		t.Errorf("got %q after two seconds, want the line", got)
	}
}

// The last record of one stream does not wait for the other one to be silent.
func TestWaitsBesideBusyStream(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.Multiline = "java"
	r.start()
	const last = "java.lang.Error: the last one"
	r.write(appLog, "2024-05-01T10:00:00Z stderr F "+last+"\n")
	r.until("the error comes", func() bool {
		r.write(appLog, cri("busy"))
		return slices.Contains(r.out.values(), last)
	})
}

// However short the time to wait is, it comes to an end.
func TestWaitsShortly(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.Multiline = "java"
	r.cfg.MultilineTimeout, r.cfg.PartialTimeout = 1, 1
	r.start()
	r.write(appLog, cri("one"))
	r.want("one")
	r.write(appLog, "2024-05-01T10:00:00Z stderr P part\n")
	r.want("one", "part")
}

// A directory that changes often, so that turns come often, makes nothing wait
// less.
func TestWaitsInBusyDirectory(t *testing.T) {
	out := newMemSink()
	c := &chain{dir: &dir{}}
	c.joiner = join.New(1<<10, func(int, []byte) (bool, int) { return false, 0 }, c)
	c.loop = newLoop(Config{}.withDefaults(t.TempDir()), Options{}, out, 1<<20)
	c.loop.now = time.Unix(1000, 0)
	c.idleAt, c.program = c.loop.now, rawProgram(t)
	c.joiner.Add(&join.Line{Line: parse.Line{Text: []byte("first")}})
	for range 500 {
		c.loop.now = c.loop.now.Add(time.Millisecond)
		c.loop.idle(c)
	}
	if n := len(out.values()); n != 0 {
		t.Error("a record waited for half a second, not for one")
	}
}

func rawProgram(t *testing.T) *record.Program {
	t.Helper()
	p, err := (&record.Format{Type: "raw"}).Compile(&record.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
