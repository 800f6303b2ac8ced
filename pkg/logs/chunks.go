package logs

import (
	"runtime/debug"
	"slices"
	"time"

	"github.com/truesize/truesize/pkg/logs/sink"
)

// newEntry starts a chunk of records of a file.
func (l *loop) newEntry(c *chain, num uint64) *entry {
	l.unrested = true
	e := &entry{chain: c, file: num}
	for _, f := range c.files {
		if f.num == num {
			e.chunk.File = f.id
		}
	}
	e.chunk.Topic, e.chunk.Key = c.topic, c.key
	e.chunk.Done = func(*sink.Chunk) { l.acks.add(e) }
	if n := len(l.bufs); n > 0 {
		e.chunk.Buf, l.bufs = l.bufs[n-1][:0], l.bufs[:n-1]
	} else {
		e.chunk.Buf = make([]byte, 0, chunkBytes+64<<10)
	}
	if n := len(l.recs); n > 0 {
		e.chunk.Records, l.recs = l.recs[n-1][:0], l.recs[:n-1]
	}
	return e
}

// Pools of chunk buffers: those of a size worth keeping, and not many.
const (
	poolMin = 128 << 10
	poolMax = 16
)

// fit gives a small chunk a buffer of its own size, so that a thousand
// containers with one line each do not hold a thousand large buffers.
func (l *loop) fit(e *entry) {
	c := &e.chunk
	if len(c.Buf) < cap(c.Buf)/2 {
		buf, recs := c.Buf, c.Records
		c.Buf, c.Records = slices.Clone(buf), slices.Clone(recs)
		l.keep(buf, recs)
	}
	e.cost = int64(cap(c.Buf) + 24*cap(c.Records) + 256)
}

func (l *loop) keep(buf []byte, recs []sink.Record) {
	if cap(buf) >= poolMin && cap(buf) <= 4*chunkBytes && len(l.bufs) < poolMax {
		l.bufs, l.recs = append(l.bufs, buf), append(l.recs, recs)
	}
}

// recycle takes back an acknowledged chunk.
func (l *loop) recycle(e *entry) {
	l.buffered -= e.cost
	l.keep(e.chunk.Buf, e.chunk.Records)
	e.chunk.Buf, e.chunk.Records = nil, nil
}

const (
	// restAfter is how long nothing must have come before memory is given
	// back, restEvery how often that is done at most.
	restAfter = 5 * time.Second
	restEvery = time.Minute
)

// rest gives memory back when there is nothing to do: a node's logs are quiet
// for most of the time, and what a burst has left is better used by others.
// The runtime by itself would wait for its next collection, which comes with
// the next burst or after minutes. It returns when to call it again.
func (l *loop) rest() (next time.Time, ok bool) {
	if l.buffered > 0 || len(l.active)+len(l.polled) > 0 {
		l.quietSince = time.Time{}
		return next, false
	}
	l.bufs, l.recs = nil, nil
	if l.quietSince.IsZero() {
		l.quietSince = l.now
	}
	if !l.unrested {
		return next, false
	}
	if next = l.quietSince.Add(restAfter); next.Before(l.rested.Add(restEvery)) {
		next = l.rested.Add(restEvery)
	}
	if l.now.Before(next) {
		return next, true
	}
	l.unrested, l.rested = false, l.now
	debug.FreeOSMemory()
	return next, false
}
