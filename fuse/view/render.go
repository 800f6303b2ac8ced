package view

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/procview"
	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/procfs"
)

var _ fuse.Content = (*container)(nil)

var (
	errBadEntry = errors.New("the registry entry is not usable")
	errPanic    = errors.New("rendering panicked")
)

// Render implements [fuse.Content]. What cannot be computed is shown as the
// host's file, in the container's length; where that is longer, the error
// leaves the last snapshot. Times are the container's all the same.
func (c *container) Render(dst []byte, file int) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read()
	c.v.stats.renders[file].Add(1)
	out, err := safely(c.compute, dst, file)
	if err == nil {
		c.failed[file] = false
		return out, nil
	}
	c.v.stats.failed(file, err)
	what := "showing the host's file"
	times, terr := safely(c.times, dst, file)
	if terr == nil {
		what = "CPU time stands still"
	}
	if !c.failed[file] { // once until it works again
		c.failed[file] = true
		c.v.log.Warn(what, "container", c.id, "file", c.v.path(file), "error", err)
	}
	if terr == nil {
		return times, nil
	}
	return c.fallback(dst, file, err)
}

// safely turns a panic into an error: a mistake in one file's rendering costs
// that file its own values, not the node its view.
func safely(compute func([]byte, int) ([]byte, error), dst []byte, file int) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = dst, fmt.Errorf("%w: %v\n%s", errPanic, v, debug.Stack())
		}
	}()
	return compute(dst, file)
}

// compute renders the file from the cgroup. mu is held.
func (c *container) compute(dst []byte, file int) ([]byte, error) {
	if c.bad {
		return dst, errBadEntry
	}
	switch z := c.sized; file {
	case cpuinfo:
		if z.cpuinfo == nil {
			return dst, procview.ErrFormat
		}
		return appendOr(dst, *z.cpuinfo)
	case cpuOnline:
		return appendOr(dst, z.cpuOnline)
	case meminfo, swaps:
		return c.memory(dst, file)
	case stat, uptime:
		if err := c.advance(); err != nil {
			return dst, err
		}
		return c.times(dst, file)
	case loadavg:
		return c.v.node.loadavg.Append(dst, c.load, c.loadTasks()), nil
	case diskstats:
		return c.diskstats(dst)
	}
	return dst, fmt.Errorf("no file %d", file)
}

// times renders the files that tell of times, by the counters there are. The
// host's would be of another start, and run backwards when they are not shown any
// more. mu is held.
func (c *container) times(dst []byte, file int) ([]byte, error) {
	switch {
	case c.bad:
		return dst, errBadEntry
	case file == stat && c.sized.stat != nil:
		return c.sized.stat.Append(dst, &c.counters, c.statTasks()), nil
	case file == uptime:
		// The start is known better once the container runs: never backwards.
		c.lastUp = max(c.lastUp, procfs.SinceBoot()-c.start)
		return c.v.node.uptime.Append(dst, c.lastUp, &c.counters), nil
	}
	return dst, procview.ErrFormat
}

func appendOr(dst, data []byte) ([]byte, error) {
	switch {
	case data == nil:
		return dst, procview.ErrFormat
	case dst == nil:
		return data, nil // kept, not copied
	}
	return append(dst, data...), nil
}

func (c *container) memory(dst []byte, file int) ([]byte, error) {
	g, err := c.cgroup()
	if err != nil {
		return dst, err
	}
	var (
		mem  cgroup.Memory
		huge cgroup.HugePages
	)
	if g != nil {
		if mem, err = g.Memory(); err != nil {
			c.gone(g, err)
			return dst, err
		}
		if file == meminfo && c.sized.hugePage > 0 {
			// A kernel without the controller: no huge pages.
			huge, _ = g.HugePages(c.sized.hugePage)
		}
	}
	if file == swaps {
		return c.sized.swaps.Append(dst, mem.SwapUsage), nil
	}
	if c.sized.meminfo == nil {
		return dst, procview.ErrFormat
	}
	return c.sized.meminfo.Append(dst, mem, huge), nil
}

func (c *container) diskstats(dst []byte) ([]byte, error) {
	d := c.v.node.diskstats.Load()
	if d == nil || d.Size() == 0 {
		// No device, on this node or in what its kernel tells. The file
		// would be empty, and empty is what a broken view looks like.
		return append(dst, '\n'), nil
	}
	g, err := c.cgroup()
	if err != nil {
		return dst, err
	}
	if g == nil {
		return d.Append(dst, nil), nil
	}
	buf := c.v.devices.get()
	defer c.v.devices.put(buf)
	io, err := g.IO((*buf)[:0])
	*buf = io[:0]
	if errors.Is(err, cgroup.ErrNoController) {
		io, err = io[:0], nil // no I/O is accounted: none is shown
	}
	if err != nil {
		c.gone(g, err)
		return dst, err
	}
	return d.Append(dst, io), nil
}

// fallback renders the file without the cgroup. mu is held.
func (c *container) fallback(dst []byte, file int, cause error) ([]byte, error) {
	start := len(dst)
	out, err := c.v.host.read(dst, file)
	if err == nil {
		length := c.sized.length(file, &c.v.node)
		if c.bad {
			length = 0
		}
		if data, ok := fit(out[start:], length); ok {
			c.v.stats.fallbacks[file].Add(1)
			return append(out[:start], data...), nil
		}
	}
	return dst, cause
}

func (c *container) statTasks() procview.StatTasks {
	// Whoever reads it runs.
	return procview.StatTasks{Running: max(1, c.tasks.running), Blocked: c.tasks.blocked}
}

func (c *container) loadTasks() procview.LoadTasks {
	total := c.tasks.total
	if c.group != nil {
		if n, err := c.group.Tasks(); err == nil {
			total = n
		}
	}
	return c.tasks.among(total)
}

// among returns what was counted a while ago for as many threads as there are
// now: of those that ran then, some may have ended. One there is: who reads it.
func (n taskCount) among(total int) procview.LoadTasks {
	total = max(1, total)
	return procview.LoadTasks{Running: min(max(1, n.running), total), Total: total, LastPID: n.lastPID}
}
