package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A load is what forwarding all files took, in every run.
type load []result

type result struct {
	usage
	wall time.Duration
}

// median is the run whose CPU time is the median.
func (l load) median() result {
	sorted := slices.Clone(l)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].cpu < sorted[j].cpu })
	return sorted[len(sorted)/2]
}

// load has a forwarder carry all files to an empty broker.
func (b *bench) load(name string) error {
	dir, err := os.MkdirTemp(b.dir, name)
	if err != nil {
		return err
	}
	broker, addr, err := b.broker(dir)
	if err != nil {
		return err
	}
	defer broker.stop()
	begin := time.Now()
	p, err := b.forwarder(name, dir, addr, b.pods)
	if err != nil {
		return err
	}
	defer p.stop()
	var most int64
	for time.Since(begin) < 5*time.Minute {
		if err := b.sleep(100 * time.Millisecond); err != nil {
			return err
		}
		u, err := usageOf(p.cmd.Process.Pid)
		if err != nil {
			return fmt.Errorf("it ended: %w\n%s", err, p.output())
		}
		most = max(most, u.rss)
		if n, err := count(addr); err == nil && n >= b.lines {
			b.loads[name] = append(b.loads[name], result{usage{u.cpu, most}, time.Since(begin)})
			return nil
		}
	}
	n, _ := count(addr)
	return fmt.Errorf("%d of %d records after 5 minutes\n%s", n, b.lines, p.output())
}

// How long a forwarder may come to rest, and for how long it is watched.
const (
	settle = 15 * time.Second
	span   = 20 * time.Second
)

// An idle is what a forwarder uses while nothing is written, and how long
// after it was written the first line of a new container is in Kafka.
type idle struct {
	cpu   float64 // of one CPU
	rss   int64
	first []time.Duration // sorted
}

// A watched is a forwarder of quiet files with a broker of its own.
type watched struct {
	name, addr, pods string
	broker, proc     *proc
	before           usage
}

// idle watches the forwarders of quiet files, all at once, then starts
// containers beside them, for one after another.
func (b *bench) idle() error {
	var all []*watched
	defer func() {
		for _, w := range all {
			w.stop()
		}
	}()
	for _, name := range forwarders {
		w, err := b.watch(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, w)
	}
	if err := b.sleep(settle); err != nil {
		return err
	}
	for _, w := range all {
		var err error
		if w.before, err = usageOf(w.proc.cmd.Process.Pid); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	if err := b.sleep(span); err != nil {
		return err
	}
	for _, w := range all {
		after, err := usageOf(w.proc.cmd.Process.Pid)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		b.idles[w.name] = idle{cpu: (after.cpu - w.before.cpu).Seconds() / span.Seconds(), rss: after.rss}
	}
	for _, w := range all {
		first, err := b.firstLines(w.addr, w.pods)
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", w.name, err, w.proc.output())
		}
		i := b.idles[w.name]
		i.first = first
		b.idles[w.name] = i
		w.stop()
	}
	return nil
}

// watch starts a forwarder of quiet files.
func (b *bench) watch(name string) (*watched, error) {
	dir, err := os.MkdirTemp(b.dir, name+"-idle")
	if err != nil {
		return nil, err
	}
	w := &watched{name: name, pods: filepath.Join(dir, "pods")}
	if err := quiet(w.pods, b.idleFiles); err != nil {
		return nil, err
	}
	if w.broker, w.addr, err = b.broker(dir); err != nil {
		return nil, err
	}
	if w.proc, err = b.forwarder(name, dir, w.addr, w.pods); err != nil {
		w.broker.stop()
		return nil, err
	}
	return w, nil
}

func (w *watched) stop() {
	w.proc.stop()
	w.broker.stop()
}

// firstLines starts containers one after another, each with one line, and
// takes the time until a consumer has it.
func (b *bench) firstLines(addr, pods string) ([]time.Duration, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics("logs"))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	await := func(n int) error {
		for n > 0 {
			fetches := cl.PollFetches(ctx)
			if err := fetches.Err0(); err != nil {
				return fmt.Errorf("the first line of a container does not come: %w", err)
			}
			n -= fetches.NumRecords()
		}
		return nil
	}
	if err := await(20 * b.idleFiles); err != nil {
		return nil, err
	}
	var all []time.Duration
	for i := range b.starts {
		if err := b.sleep(300 * time.Millisecond); err != nil {
			return nil, err
		}
		begin := time.Now()
		line := begin.UTC().Format(time.RFC3339Nano) + " stdout F the first line\n"
		if err := container(pods, fmt.Sprintf("new-%d", i), line); err != nil {
			return nil, err
		}
		if err := await(1); err != nil {
			return nil, err
		}
		all = append(all, time.Since(begin))
	}
	slices.Sort(all)
	return all, nil
}

// sleep waits unless the run is interrupted.
func (b *bench) sleep(d time.Duration) error {
	select {
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-time.After(d):
		return nil
	}
}
