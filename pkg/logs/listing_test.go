package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// While a directory is looked at, its files are rotated by number: one that was
// read long ago and is found under neither name is not gone, and is not read
// again.
func TestRenumberedWhileListed(t *testing.T) {
	r := newRig(t, "files")
	r.start()
	const n, kept = 60, 8
	for i := range n {
		for j := kept; j >= 0; j-- {
			from := "app.log"
			if j > 0 {
				from = fmt.Sprint("app.log.", j)
			}
			if err := os.Rename(r.path(from), r.path(fmt.Sprint("app.log.", j+1))); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		r.write("app.log", cri(numbers(i, i+1)...))
		r.want(numbers(0, i+1)...)
		r.until("what was rotated is closed", func() bool { return r.status().OpenFiles == 1 })
	}
	r.noLoss()
}

// A directory that cannot be listed for a moment is not empty.
func TestNotListed(t *testing.T) {
	r := newRig(t, "pods")
	old := appLog + ".20240501-100000"
	r.write(old, cri(numbers(0, 5)...))
	r.write(appLog, cri(numbers(5, 6)...))
	r.start()
	r.want(numbers(0, 6)...)
	r.until("the rotated file is closed", func() bool { return r.status().OpenFiles == 1 })
	r.withoutFiles(func() {
		for _, d := range r.c.loop.roots[0].logs {
			r.c.loop.lookLogs(d)
		}
	})
	r.c.loop.asks <- func() { r.c.loop.scan(true) }
	r.write(appLog, cri(numbers(6, 7)...))
	r.want(numbers(0, 7)...)
	r.noLoss()
}

// withoutFiles has the reader do something while no more files can be opened.
func (r *rig) withoutFiles(do func()) {
	r.t.Helper()
	done := make(chan error)
	r.c.loop.asks <- func() {
		var was unix.Rlimit
		err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &was)
		if err == nil {
			err = unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}, nil)
		}
		do()
		done <- errors.Join(err, unix.Prlimit(0, unix.RLIMIT_NOFILE, &was, nil))
	}
	r.ok(<-done)
}

// That a directory cannot be listed, or its files not opened, when it is looked
// at for the first time does not mean that they disappeared.
func TestNotListedAtFirst(t *testing.T) {
	r := newRig(t, "files")
	r.readThenAway("app.log")
	r.withoutFiles(func() {
		r.ok(os.Rename(r.root+".away", r.root))
		r.c.loop.scan(true)
	})
	r.c.loop.asks <- func() { r.c.loop.scan(true) }
	r.write("app.log", cri(numbers(5, 6)...))
	r.want(numbers(0, 6)...)
	r.noLoss()
}

// slowLog is a log whose every line takes a while: whoever writes one stands
// still.
type slowLog struct{ slog.Handler }

func (slowLog) Handle(context.Context, slog.Record) error {
	time.Sleep(200 * time.Millisecond)
	return nil
}

// That the process stood still while it looked at a small directory does not
// keep it from looking again: what comes meanwhile may not stay for long.
func TestLooksAgainAfterStandstill(t *testing.T) {
	r := newRig(t, "pods")
	r.opts.Log = slog.New(slowLog{r.opts.Log.Handler()})
	r.write(appLog, cri("one"))
	r.start()
	r.want("one")
	pause := make(chan time.Duration, 1)
	r.c.loop.asks <- func() {
		for _, d := range r.c.loop.roots[0].logs {
			r.ok(unix.Mkfifo(r.path("ns_pod_uid/app/1.log"), 0o600)) // refused, and said
			d.dirty = true
			r.c.loop.look(d, false)
			pause <- d.due().Sub(d.readAt)
		}
	}
	if d := <-pause; d > 2*10*nameCost {
		t.Errorf("a directory of two names is not looked at for %v", d)
	}
}
