package fault

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/truesize/truesize/test/reads"
)

// between is a random time between two events.
func between() time.Duration { return time.Duration(20+rand.IntN(120)) * time.Millisecond }

func TestServerKilled(t *testing.T) {
	n := newNode(t, 20)
	n.start()
	r := n.startReaders(8, 100*time.Microsecond)
	var kills []int64
	for range scaled(40, 1000) {
		pid := n.server()
		time.Sleep(time.Duration(20+rand.IntN(480)) * time.Millisecond)
		kills = append(kills, n.kill(pid, syscall.SIGKILL))
		n.await("its end", func() bool { return n.status().ServerPID != pid })
	}
	time.Sleep(between())
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, kills, n.counted())
	if c := n.status().Counters; c["deaths"] != uint64(len(kills)) {
		t.Errorf("%d kills, counted %v", len(kills), c)
	}
}

// TestServerKilled without its kills: what reads cost at moments at which nothing
// happens, to hold its figures against.
func TestUndisturbed(t *testing.T) {
	n := newNode(t, 20)
	n.start()
	r := n.startReaders(8, 100*time.Microsecond)
	var moments []int64
	for range scaled(10, 100) {
		time.Sleep(time.Duration(20+rand.IntN(480)) * time.Millisecond)
		moments = append(moments, reads.Now())
	}
	time.Sleep(between())
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, moments, n.counted())
	if c := n.status().Counters; c["deaths"] != 0 {
		t.Errorf("a server died: %v", c)
	}
}

// Servers that are killed before they have settled, as in a crash loop: the
// keeper waits longer and longer before it starts one, and answers meanwhile.
func TestServerKilledAtOnce(t *testing.T) {
	n := newNode(t, 5)
	n.start()
	r := n.startReaders(8, time.Millisecond)
	var kills []int64
	last := 0 // may be there for a moment more
	for range scaled(12, 50) {
		var pid int
		n.await("a server", func() bool { pid = n.status().ServerPID; return pid != 0 && pid != last && !gone(pid) })
		kills, last = append(kills, n.kill(pid, syscall.SIGKILL)), pid
		time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond)
	}
	n.answers()
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, kills, n.counted())
	if n.status().Counters["degraded"] == 0 {
		t.Error("the keeper never answered")
	}
}

func TestKeeperKilled(t *testing.T) {
	n := newNode(t, 5)
	n.start()
	r := n.startReaders(8, time.Millisecond)
	var kills []int64
	for range scaled(20, 200) {
		time.Sleep(between())
		st := n.status()
		kills = append(kills, n.kill(st.KeeperPID, syscall.SIGKILL))
		n.await("another keeper", func() bool { return n.status().KeeperPID != st.KeeperPID })
	}
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, kills, n.counted())
	if got := n.status().Counters["adoptions"]; got != uint64(len(kills)) {
		t.Errorf("%d kills, %d adoptions", len(kills), got)
	}
}

// Keeper and server by turns, in any order.
func TestEitherKilled(t *testing.T) {
	n := newNode(t, 5)
	n.start()
	r := n.startReaders(8, time.Millisecond)
	var kills []int64
	for range scaled(30, 500) {
		time.Sleep(between())
		st := n.status()
		if st.ServerPID == 0 || rand.IntN(2) == 0 {
			kills = append(kills, n.kill(st.KeeperPID, syscall.SIGKILL))
			n.await("another keeper", func() bool { return n.status().KeeperPID != st.KeeperPID })
			continue
		}
		kills = append(kills, n.kill(st.ServerPID, syscall.SIGKILL))
		n.await("another server", func() bool { pid := n.status().ServerPID; return pid != 0 && pid != st.ServerPID })
	}
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, kills, n.counted())
}

// A server that stands still is never set going again: what readers wait for
// must come from its successor.
func TestServerStopped(t *testing.T) {
	n := newNode(t, 5)
	n.start()
	r := n.startReaders(8, time.Millisecond)
	var stops []int64
	for range scaled(3, 20) {
		pid := n.server()
		stops = append(stops, n.kill(pid, syscall.SIGSTOP))
		n.await("another server", func() bool { now := n.status().ServerPID; return now != 0 && now != pid })
		n.answers()
		time.Sleep(500 * time.Millisecond) // a second one is not this fault
	}
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, stops, n.counted())
	if got := n.status().Counters["hangs"]; got != uint64(len(stops)) {
		t.Errorf("%d times stopped, %d hangs counted", len(stops), got)
	}
}
