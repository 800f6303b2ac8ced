package procview

import (
	"time"

	"github.com/truesize/truesize/pkg/cgroup"
)

// The columns of a CPU line that a container can have. The others (iowait,
// irq, softirq, guest, guest_nice) no cgroup counts: they are 0.
const (
	user = iota
	nice
	system
	idle
	steal
	columns
)

// maxShares bounds the different CPU counts that Counters remembers.
const maxShares = 16

// Counters is the CPU time of a container's virtual CPUs since its start, the
// numbers of /proc/stat and of the idle time of /proc/uptime. Advance carries
// it on; no number ever decreases: not when the cgroup is made anew, the size
// changes, the container bursts beyond its size, or the server is started
// again from a stored copy (Marshal).
//
// Time that the container's tasks ran is what the kernel says. Steal is time
// they were held back by a quota, as far as it fits beside: N CPUs have N
// seconds in a second. The rest is idle.
//
// It holds no pointers: a copy is a snapshot. It is not safe for concurrent
// use.
type Counters struct {
	at   uint64     // of the last reading, in µs since boot
	last cgroup.CPU // the last reading, as far as it was shown

	total [columns]uint64 // µs, of all CPUs there ever were

	// shares divides total among CPUs: what each CPU below n got while there
	// were n. CPU i has the sum of all shares with n above i, so one that
	// comes back after a smaller size goes on where it was.
	shares [maxShares]share
	// left is what could not be divided evenly, in ns.
	left [columns]uint64

	debt  uint64 // µs that ran beyond N CPUs, still to be taken from idle
	owed  uint64 // µs of throttling that found no room, still to become steal
	forks uint64 // see Processes
	pid   uint64 // the last pid given to Processes
}

type share struct {
	n    uint64          // 0: unused
	time [columns]uint64 // ns per CPU
}

// Throttling is told when it ends, and a period may be any length up to a
// second: so steal is owed, and time beyond N CPUs kept as a debt, for no
// more than this per CPU.
const carryPerCPU = uint64(time.Second / time.Microsecond)

// NewCounters starts at the container's start, on the clock that Advance is
// given: CPU time since then belongs to the container.
func NewCounters(start time.Duration) Counters {
	return Counters{at: micros(start)}
}

func micros(d time.Duration) uint64 { return uint64(max(0, d) / time.Microsecond) }

// Advance carries the counters on to a reading of the cgroup made at now, with
// n CPUs since the last one. now is the time since boot including suspension
// (CLOCK_BOOTTIME), as process start times and /proc/uptime are.
func (c *Counters) Advance(now time.Duration, cpu cgroup.CPU, n int) {
	cpus := uint64(max(1, n))
	t := micros(now)
	room := (t - min(t, c.at)) * cpus // CPU time that n CPUs have
	c.at = max(c.at, t)

	var d [columns]uint64
	d[user], d[nice], d[system] = c.ran(cpu)
	used := d[user] + d[nice] + d[system]

	throttled := delta(cpu.Throttled, c.last.Throttled)
	c.last.Throttled = cpu.Throttled

	// What ran beyond N CPUs fills the room of the time after it.
	c.debt += used
	paid := min(c.debt, room)
	c.debt = min(c.debt-paid, cpus*carryPerCPU)
	room -= paid

	c.owed += throttled
	d[steal] = min(c.owed, room)
	c.owed = min(c.owed-d[steal], cpus*carryPerCPU)
	d[idle] = room - d[steal]

	c.add(d, cpus)
}

// ran is the CPU time since the last reading. The kernel's sum of user and
// system never decreases, each of them may, for it divides by samples. Then
// the other one gets less, as in the kernel's own cputime_adjust; last holds
// what was shown, so nothing is counted twice.
func (c *Counters) ran(cpu cgroup.CPU) (dUser, dNice, dSystem uint64) {
	total := cpu.User + cpu.System
	if total < c.last.User+c.last.System {
		c.last = cgroup.CPU{} // another cgroup, which counts from 0
	}
	s := max(cpu.System, c.last.System)
	if s > total-c.last.User {
		s = total - c.last.User
	}
	dSystem = s - c.last.System
	dUser = total - s - c.last.User
	dNice = min(dUser, cpu.Nice-min(cpu.Nice, c.last.Nice))
	c.last.System, c.last.User = s, total-s
	c.last.Nice += dNice
	return dUser - dNice, dNice, dSystem
}

// delta is how far a counter came, from 0 when it was started anew.
func delta(now, last uint64) uint64 {
	if now < last {
		return now
	}
	return now - last
}

// add adds to the totals and divides among n CPUs.
func (c *Counters) add(d [columns]uint64, n uint64) {
	s := c.share(n)
	for i, us := range d {
		c.total[i] += us
		ns := us*1000 + c.left[i]
		s.time[i] += ns / n
		c.left[i] = ns % n
	}
}

// share returns the share of n CPUs, making room for it if need be: of the
// two sizes that are nearest, the smaller's share is given to the larger too,
// which only moves CPUs forward.
func (c *Counters) share(n uint64) *share {
	for i := range c.shares {
		if c.shares[i].n == n {
			return &c.shares[i]
		}
	}
	i := c.unused()
	c.shares[i] = share{n: n}
	return &c.shares[i]
}

// unused returns the index of a share that can be used.
func (c *Counters) unused() int {
	from, to := -1, -1
	for i, a := range c.shares {
		if a.n == 0 {
			return i
		}
		for j, b := range c.shares {
			if b.n > a.n && (from < 0 || b.n-a.n < c.shares[to].n-c.shares[from].n) {
				from, to = i, j
			}
		}
	}
	for i := range c.shares[to].time {
		c.shares[to].time[i] += c.shares[from].time[i]
	}
	return from
}

// cpu returns the time of CPU i, in ns.
func (c *Counters) cpu(i int) (sum [columns]uint64) {
	for k := range c.shares {
		if c.shares[k].n > uint64(i) {
			for col, ns := range c.shares[k].time {
				sum[col] += ns
			}
		}
	}
	return sum
}

// IdleMicros returns the idle time, summed over the CPUs, in µs: of many CPUs
// it is soon more than a time.Duration holds.
func (c *Counters) IdleMicros() uint64 { return c.total[idle] }

// SetLastPID tells the last pid that was given out in the container's pid
// namespace, from which Processes counts: 0 is not known. newer says that it was
// given out after the one before, also where it is lower: pids wrap around at
// the namespace's pid_max. Else a lower one is passed over.
func (c *Counters) SetLastPID(pid int, newer bool) {
	p := uint64(max(0, pid))
	if p == 0 || p < c.pid && !newer {
		return
	}
	c.forks += delta(p, c.pid) // of a new round, what came since
	c.pid = p
}

// LastPID returns the last pid that SetLastPID took, 0 when there is none.
func (c *Counters) LastPID() int { return int(c.pid) }

// Processes returns how many processes and threads were made, as far as pids
// tell.
func (c *Counters) Processes() uint64 { return c.forks }
