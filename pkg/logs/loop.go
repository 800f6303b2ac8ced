package logs

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/truesize/truesize/pkg/logs/checkpoint"
	"github.com/truesize/truesize/pkg/logs/parse"
	"github.com/truesize/truesize/pkg/logs/record"
	"github.com/truesize/truesize/pkg/logs/sink"
)

// A loop is the goroutine that owns all files, chains and directories. Other
// goroutines reach it through the acks, the watcher's channel and asks.
type loop struct {
	cfg       Config
	log       *slog.Logger
	metadata  Metadata
	only      func(Ref) bool
	sink      sink.Sink
	store     *checkpoint.Store
	watcher   *watcher // nil where the kernel gives no hints
	formats   map[string]record.Format
	topicRule *regexp.Regexp

	now   time.Time
	roots []*root
	dirs  map[int32]*dir   // by watch
	quiet map[int32]*chain // by watch, waiting for their file to change
	dirty []*dir

	active []*chain // in the next round
	spare  []*chain
	polled []*chain // at the next tick

	limits       map[string]*limiter
	restored     map[string]map[string]checkpoint.File // by directory, by id
	restoredMeta map[string]Meta
	first        bool // there was no checkpoint
	firstScan    bool
	watchFailed  bool
	fileNum      uint64

	buf       []byte // of reads
	unescaped []byte
	times     parse.TimeCache
	bufs      [][]byte // for chunks
	recs      [][]sink.Record
	buffered  int64 // memory of chunks on their way
	held      int64 // memory of lines that wait for their end
	budget    int64

	unrested   bool // memory was used since it was given back
	quietSince time.Time
	rested     time.Time

	acks acks
	asks chan func()

	changed      bool // since the last checkpoint
	saved        time.Time
	saveFailures int
	nextScan     time.Time
	nextRoots    time.Time // when a root is looked for that is not there
	nextTick     time.Time
	nextDeleted  time.Time
	totals       totals
}

// acks collects acknowledged entries from the sink's goroutines.
type acks struct {
	mu     sync.Mutex
	list   []*entry
	notify chan struct{}
}

func (a *acks) add(e *entry) {
	a.mu.Lock()
	a.list = append(a.list, e)
	a.mu.Unlock()
	select {
	case a.notify <- struct{}{}:
	default:
	}
}

func (a *acks) take(into []*entry) []*entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	into = append(into[:0], a.list...)
	clear(a.list)
	a.list = a.list[:0]
	return into
}

// run reads until ctx is done; then it calls stopped, waits for what is on its
// way until drained says that the sink acknowledges no more, and writes the
// last checkpoint.
func (l *loop) run(ctx context.Context, stopped func(), drained <-chan struct{}) error {
	l.now = time.Now()
	l.firstScan = true
	l.scan(true)
	l.firstScan = false
	l.forgetRest()
	l.nextScan = l.now.Add(l.scanInterval())
	l.lookForRoots()
	for ctx.Err() == nil {
		l.now = time.Now()
		l.work()
		if !l.round() {
			l.wait(ctx)
		}
	}
	stopped()
	for open := true; open; {
		select {
		case <-drained:
			open = false
		case <-l.acks.notify:
		case f := <-l.asks:
			f()
		}
		l.now = time.Now()
		l.takeAcks()
		l.saveIfDue(false)
	}
	l.takeAcks()
	return l.save()
}

// work does what is due beside reading.
func (l *loop) work() {
	l.takeAcks()
	l.takeEvents()
	l.lookDirty()
	if !l.now.Before(l.nextScan) {
		l.scan(true)
		l.nextScan = l.now.Add(l.scanInterval())
		l.lookForRoots()
	} else if !l.nextRoots.IsZero() && !l.now.Before(l.nextRoots) {
		l.lookForRoots()
	}
	if !l.now.Before(l.nextTick) {
		l.nextTick = l.now.Add(pollInterval)
		for _, c := range l.polled {
			c.queue = queueReady
		}
		l.active, l.polled = append(l.active, l.polled...), l.polled[:0]
	}
	if !l.now.Before(l.nextDeleted) {
		l.nextDeleted = l.now.Add(time.Second)
		l.boundDeleted()
	}
	l.saveIfDue(false)
	select {
	case f := <-l.asks:
		f()
	default:
	}
}

// scanInterval is how long until all directories are looked at again.
func (l *loop) scanInterval() time.Duration {
	if l.watcher == nil || l.watchFailed {
		return min(hintless, time.Duration(l.cfg.ScanInterval))
	}
	return time.Duration(l.cfg.ScanInterval)
}

// round gives every chain that may have data one turn. It says whether it is
// worth going on at once.
func (l *loop) round() bool {
	list := l.active
	l.active = l.spare[:0]
	progress := false
	for i, c := range list {
		if l.watcher != nil && len(l.watcher.events) > 0 {
			// A new file may be gone soon: it is opened first. The others
			// keep their places.
			l.active = append(l.active, list[i:]...)
			progress = true
			break
		}
		if c.queue != queueReady {
			continue
		}
		c.queue = queueNone
		switch l.turn(c) {
		case turnMore:
			progress = true
			l.ready(c)
		case turnBlocked:
			l.ready(c)
		case turnEnd:
			l.later(c)
		}
	}
	clear(list)
	l.spare = list[:0]
	return progress
}

// ready puts a chain into the next round.
func (l *loop) ready(c *chain) {
	switch c.queue {
	case queueReady:
		return
	case queuePoll:
		l.polled = slices.DeleteFunc(l.polled, func(o *chain) bool { return o == c })
	}
	c.queue = queueReady
	l.active = append(l.active, c)
}

// later has a chain looked at again: at the next tick, or when the kernel says
// that its file has changed.
func (l *loop) later(c *chain) {
	if c.queue != queueNone {
		return
	}
	if c.idlePolls > quietPolls && l.hush(c) {
		return
	}
	c.queue = queuePoll
	l.polled = append(l.polled, c)
}

// hush leaves a chain to the kernel's hint. It says false when there is still
// something to wait for, or no hint to be had.
func (l *loop) hush(c *chain) bool {
	f := c.head()
	if l.watcher == nil || !c.configured || f == nil || f.osFile() == nil || !f.present || c.after(f) != nil {
		return false
	}
	if _, held := c.joiner.Holding(); held || c.dropped.lines > 0 || c.replaced() {
		return false
	}
	if c.quietFile != f {
		l.unwatch(c)
		wd, err := l.watcher.once(f.osFile())
		if err != nil {
			l.unwatched()
			return false
		}
		c.quietWD, c.quietFile = wd, f
		l.quiet[wd] = c
		// What was written before the watch is not told: one more look.
		return false
	}
	return true
}

// remove takes a chain that is no more out of the loop.
func (l *loop) remove(c *chain) {
	if c.queue == queuePoll {
		l.polled = slices.DeleteFunc(l.polled, func(o *chain) bool { return o == c })
	}
	c.queue = queueNone // round leaves it out
	l.totals.gone.add(&c.stats)
	l.held -= c.held
	c.held = 0
	delete(l.limits, podKey(c.ref))
	l.unwatch(c)
}

func (l *loop) unwatch(c *chain) {
	if c.quietFile != nil {
		delete(l.quiet, c.quietWD)
		if l.watcher != nil {
			l.watcher.forget(c.quietWD)
		}
		c.quietFile = nil
	}
}

// wait sleeps until there is something to do.
func (l *loop) wait(ctx context.Context) {
	next := l.nextScan
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	if !l.nextRoots.IsZero() {
		sooner(l.nextRoots)
	}
	if len(l.polled) > 0 {
		sooner(l.nextTick)
	}
	for _, d := range l.dirty {
		sooner(d.due())
	}
	if l.changed {
		sooner(l.saved.Add(time.Duration(l.cfg.Checkpoint)))
	}
	if len(l.active) > 0 { // blocked: the bound on deleted files still holds
		sooner(l.nextDeleted)
	}
	var events chan []event
	if l.watcher != nil {
		events = l.watcher.events
	}
	if at, ok := l.rest(); ok {
		sooner(at)
	}
	timer := time.NewTimer(max(next.Sub(l.now), time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.acks.notify:
	case <-l.sink.Wake():
	case list := <-events:
		l.now = time.Now()
		l.hints(list)
	case f := <-l.asks:
		f()
	case <-timer.C:
	}
}

func (l *loop) takeEvents() {
	if l.watcher == nil {
		return
	}
	for {
		select {
		case list := <-l.watcher.events:
			l.hints(list)
		default:
			return
		}
	}
}

// hints takes what the kernel says.
func (l *loop) hints(list []event) {
	for _, e := range list {
		if e.overflow {
			l.nextScan = l.now
			for _, c := range l.quiet { // theirs may be among the lost ones, and comes once
				l.unwatch(c)
			}
			continue
		}
		if d := l.dirs[e.wd]; d != nil {
			l.touch(d)
		}
		if c := l.quiet[e.wd]; c != nil {
			delete(l.quiet, e.wd)
			c.quietFile, c.idlePolls = nil, 0
			l.ready(c)
		}
	}
}

// touch has a directory looked at soon.
func (l *loop) touch(d *dir) {
	if !d.dirty || !slices.Contains(l.dirty, d) {
		d.dirty = true
		l.dirty = append(l.dirty, d)
	}
}

// takeAcks deals with what the sink has acknowledged.
func (l *loop) takeAcks() {
	list := l.acks.take(nil)
	for _, e := range list {
		e.acked = true
	}
	for _, e := range list {
		if len(e.chain.fifo) > 0 && e.chain.fifo[0].acked {
			e.chain.settle()
			l.afterAck(e.chain)
		}
	}
}

// afterAck forgets what is over.
func (l *loop) afterAck(c *chain) {
	for _, f := range c.files {
		if !f.present && f.done() {
			d := c.dir
			l.prune(d)
			if len(d.chains) == 0 {
				l.touch(d) // vanished, perhaps
			}
			return
		}
	}
}
