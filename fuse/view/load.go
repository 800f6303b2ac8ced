package view

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/procfs"
	"github.com/truesize/truesize/pkg/pulse"
	"golang.org/x/sys/unix"
)

const (
	// sampleEvery is the kernel's own LOAD_FREQ.
	sampleEvery = 5 * time.Second
	// sampleBudget is how long threads may be counted per round: 1 % of one
	// CPU. A container that found no room is counted first in the next round;
	// its averages decay by the time that passed.
	sampleBudget = sampleEvery / budgetShare
	budgetShare  = 100
	// longestRest is for how long a container is not counted at most: a count
	// may have been long because the node is busy, and the shim takes loads that
	// are half a minute old for none.
	longestRest = 4 * sampleEvery
	// maxThreads bounds the threads looked at per container.
	maxThreads = 1 << 17
)

// sample counts every container's threads, again and again.
func (v *View) sample(ctx context.Context) {
	s := newTaskReader(v.host.proc)
	defer s.close()
	for pulse.Wait(ctx, sampleEvery) == nil {
		if v.refreshDisks() {
			v.Server.Refresh(diskstats)
		}
		if v.refreshBoot(clock()) {
			v.Server.Refresh(stat)
		}
		v.sampleRound(s, time.Now)
	}
}

// sampleRound counts in the order of how long ago a container was counted,
// within the budget.
func (v *View) sampleRound(s *taskReader, now func() time.Time) {
	v.mu.Lock()
	list := make([]*container, 0, len(v.containers))
	for _, c := range v.containers {
		list = append(list, c)
	}
	v.mu.Unlock()
	slices.SortFunc(list, func(a, b *container) int { return a.lastSampled().Compare(b.lastSampled()) })
	began := now()
	for _, c := range list {
		if !c.sample(s, now, now().Sub(began) > sampleBudget) {
			v.stats.samplesDeferred.Add(1)
		}
	}
	v.stats.sampleNanos.Add(uint64(now().Sub(began)))
}

func (c *container) lastSampled() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sampled
}

// sample takes one sample of the load and carries the counters on. Threads
// change their state only by running: where no CPU time was used since the
// last count, that count still holds, so an idle container costs one read. It
// returns false for one that is put off, as the round is over its budget, or the
// container's last count took several rounds' budget.
func (c *container) sample(s *taskReader, now func() time.Time, overBudget bool) bool {
	began := now()
	c.mu.Lock()
	g := c.beginSample()
	before, putOff := c.countedAt, overBudget || began.Before(c.rests)
	c.mu.Unlock()
	if g == nil || putOff {
		return !putOff
	}
	usage, err := g.CPU()
	if err != nil {
		c.v.stats.failed(loadavg, err)
		return true
	}
	used := usage.User + usage.System
	count, counted := taskCount{}, false
	if used != before {
		count, err = s.count(g)
		counted = err == nil
		if err != nil && !errors.Is(err, cgroup.ErrGone) {
			c.v.stats.failed(loadavg, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rests = began.Add(min(now().Sub(began)*budgetShare, longestRest))
	if counted {
		c.noteTasks(count)
		c.countedAt = used
	}
	if elapsed := began.Sub(c.sampled); !c.sampled.IsZero() {
		c.load.Add(c.tasks.running+c.tasks.blocked, elapsed)
	} else {
		c.load.Add(c.tasks.running+c.tasks.blocked, sampleEvery)
	}
	c.sampled = began
	if err := c.publishLoads(); err != nil {
		c.v.stats.failed(loadavg, err)
	}
	if c.file != nil {
		if err := c.file.storeLoad(c.load, procfs.SinceBoot()); err != nil {
			c.dropCounterFile(err)
		}
	}
	return true
}

// noteTasks takes over a count. Its newest thread is an older one than the last
// count's where that one has ended, and tells nothing of pids given out since:
// a lower pid is one that came around only if its thread is newer. mu is held.
func (c *container) noteTasks(n taskCount) {
	last := c.tasks.start
	if n.start >= last {
		c.counters.SetLastPID(n.lastPID, last > 0 && n.start > last)
	}
	n.start, n.lastPID = max(n.start, last), c.counters.LastPID()
	c.tasks = n
}

// beginSample carries the counters on and returns the cgroup, nil when there
// is none. mu is held.
func (c *container) beginSample() *cgroup.Group {
	if c.unread || c.bad || c.closed || c.advance() != nil {
		return nil
	}
	if c.sampled.IsZero() {
		c.countedAt = math.MaxUint64 // never yet
	}
	return c.group
}

// A taskReader counts the threads of cgroups.
type taskReader struct {
	proc int // descriptor of /proc
	tids []int
	buf  []byte
	path []byte
}

func newTaskReader(proc string) *taskReader {
	fd, err := unix.Open(proc, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		fd = -1 // every read fails, and is counted
	}
	return &taskReader{proc: fd, buf: make([]byte, 4096)}
}

func (r *taskReader) close() { unix.Close(r.proc) }

// count counts the threads of the cgroup and all below it. The last pid is
// that of the newest thread, as numbered in the container's pid namespace. The
// node's own numbers, which come around too, do not tell which one that is.
func (r *taskReader) count(g *cgroup.Group) (n taskCount, err error) {
	if r.tids, err = g.Threads(r.tids[:0], maxThreads); err != nil {
		return n, err
	}
	newest := 0
	for _, tid := range r.tids {
		s, err := procfs.ParseStat(r.read(tid, "stat"))
		if err != nil {
			continue // ended meanwhile
		}
		switch s.State {
		case 'R':
			n.running++
		case 'D':
			n.blocked++
		}
		n.total++
		if s.Start > n.start || s.Start == n.start && tid > newest {
			newest, n.start = tid, s.Start
		}
	}
	if newest > 0 {
		n.lastPID = lastPID(r.read(newest, "status"))
	}
	return n, nil
}

// read returns what there is of a file of a thread, up to 4 kB. It is the one
// below task/: /proc/TID/stat adds up the times of all threads of the process,
// at every thread (87 against 8 µs each in a process of 2,000).
func (r *taskReader) read(tid int, name string) []byte {
	r.path = strconv.AppendInt(r.path[:0], int64(tid), 10)
	r.path = append(r.path, "/task/"...)
	r.path = strconv.AppendInt(r.path, int64(tid), 10)
	r.path = append(append(r.path, '/'), name...)
	fd, err := unix.Openat(r.proc, string(r.path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	k, err := unix.Read(fd, r.buf)
	if err != nil {
		return nil
	}
	return r.buf[:k]
}

// lastPID reads the line "NSpid:	4711	12" of /proc/TID/status: the number in
// each pid namespace from the host's down. The container's is the one below the
// host's, whatever further ones it has made.
func lastPID(status []byte) int {
	const level = 1
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte("NSpid:"))
		if !ok {
			continue
		}
		f := strings.Fields(string(rest))
		if len(f) == 0 {
			return 0
		}
		pid, err := strconv.Atoi(f[min(level, len(f)-1)])
		if err != nil || pid < 0 {
			return 0
		}
		return pid
	}
	return 0
}
