package fault

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/test/reads"
)

// The node's clock jumps, forwards and back, by seconds and by years, also
// between a server and its successor: no read fails, and a container's uptime
// goes on as if nothing was. It runs where the clock is the test's to
// set, as on a machine of its own: TRUESIZE_SET_CLOCK says so.
func TestClockJumps(t *testing.T) {
	if os.Getenv("TRUESIZE_SET_CLOCK") == "" {
		t.Skip("this machine's clock is not to be set")
	}
	n := newNode(t, 3)
	for _, c := range n.containers { // as any that runs: its start is told by its process
		n.entry(c.id, func(e *registry.Container) { e.PID = os.Getpid() })
	}
	n.start()
	begin, wall := reads.Now(), time.Now()
	set := func(t *testing.T, to time.Time) {
		t.Helper()
		ts := unix.NsecToTimespec(to.UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
			t.Fatal(err)
		}
	}
	now := func() time.Time { return wall.Add(time.Duration(reads.Now() - begin)) }
	defer func() { set(t, now()) }()
	r := n.startReaders(4, time.Millisecond)
	uptime := func() (seconds float64) {
		data, err := os.ReadFile(n.path("view", n.containers[0].id, "proc/uptime"))
		if err == nil {
			_, err = fmt.Sscan(string(data), &seconds)
		}
		if err != nil {
			t.Fatal(err)
		}
		return seconds
	}
	atFirst := uptime()
	wantUptime := func() {
		t.Helper()
		got, most := uptime()-atFirst, time.Duration(reads.Now()-begin).Seconds()+1
		if got < 0 || got > most {
			t.Errorf("the uptime has grown by %v s, of %v that have passed", got, most)
		}
	}
	var moments []int64
	const year = 365 * 24 * time.Hour
	for i, jump := range []time.Duration{time.Hour, -time.Hour, year, -year, -time.Second, time.Second, 0} {
		moments = append(moments, reads.Now())
		set(t, now().Add(jump))
		before := uptime()
		n.await("a newer snapshot", func() bool { return uptime() != before })
		wantUptime()
		if i%2 == 0 { // the successor begins in another time
			server := n.server()
			n.kill(server, syscall.SIGKILL)
			n.await("another server", func() bool { pid := n.status().ServerPID; return pid != 0 && pid != server })
			before := uptime()
			n.await("a newer snapshot", func() bool { return uptime() != before })
			wantUptime()
		}
	}
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, moments, n.counted())
	if c := n.status().Counters; c["hangs"] != 0 {
		t.Errorf("a server was thought to stand still: %v", c)
	}
}
