package logs

import (
	"bytes"
	"slices"
	"time"

	"github.com/truesize/truesize/pkg/logs/join"
	"github.com/truesize/truesize/pkg/logs/parse"
	"github.com/truesize/truesize/pkg/logs/record"
	"github.com/truesize/truesize/pkg/logs/sink"
	"github.com/truesize/truesize/pkg/logs/source"
)

// A chain is the output of one container: its log files, from the oldest to
// the one being written.
type chain struct {
	loop  *loop
	dir   *dir
	ref   Ref
	base  string
	files []*file // in order of age

	// Set by configure, when what is known of the container is known.
	configured bool
	waitUntil  time.Time // for metadata
	meta       Meta
	topic      string
	key        []byte
	program    *record.Program
	joiner     *join.Joiner
	limit      *limiter // shared by the pod's chains; nil is no limit
	limitClock int64    // see limiter.allow
	dropped    dropping

	held int64    // bytes in the joiner, as counted in the loop
	fifo []*entry // chunks in the order they were read, until acknowledged
	cur  *entry   // being filled

	queue     queueState
	idlePolls int
	idleAt    time.Time // when the joiner's time was last counted, or data came
	quietFile *file     // for whose change the kernel is asked; nil is none
	quietWD   int32
	lastTime  int64 // of the last parsed line

	stats chainStats
}

// queueState says where the loop finds a chain again.
type queueState uint8

const (
	queueNone  queueState = iota // when a file of it comes, or is changed
	queueReady                   // in the next round
	queuePoll                    // at the next tick
)

// A mark moves a file's progress when the entry it belongs to is acknowledged.
type mark struct {
	f    *file
	safe [parse.Streams]int64
}

// An entry is a chunk on its way, and what its acknowledgement means.
type entry struct {
	chunk sink.Chunk
	chain *chain
	file  uint64 // whose records are in it
	acked bool
	sent  bool
	cost  int64 // of the memory budget
	lines int
	bytes int64 // of text
	last  int64 // the last line's time
	marks []mark
}

// head returns the oldest file that is not read to its end, nil while an older
// one may not have been found yet.
func (c *chain) head() *file {
	for _, f := range c.files {
		if f.final || f.shadowOf != nil || f.src == nil {
			continue
		}
		if f.listing == c.dir.listing {
			return nil
		}
		return f
	}
	return nil
}

// after returns the oldest unread file that is younger than f.
func (c *chain) after(f *file) *file {
	i := slices.Index(c.files, f)
	for _, n := range c.files[i+1:] {
		if !n.final && n.shadowOf == nil && n.src != nil {
			return n
		}
	}
	return nil
}

// sort orders the files by age. One that was deleted while it was written is
// older than the one written now.
func (c *chain) sort() {
	class := func(f *file) int {
		switch {
		case f.as.Rotation != "":
			return 0
		case !f.present:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(c.files, func(a, b *file) int {
		x, y := class(a), class(b)
		switch {
		case x != y:
			return x - y
		case x == 0:
			return source.Compare(a.as, b.as)
		}
		return int(int64(a.num) - int64(b.num))
	})
}

// consume takes the lines of b, which was read from f at f.read. With full, b
// is as large as a read can be; with last, a line without its end is taken
// too.
func (c *chain) consume(f *file, b []byte, full, last bool) {
	start := f.read
	off := f.read
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		c.line(f, off, b[:i], false)
		off += int64(i) + 1
		b = b[i+1:]
	}
	if len(b) > 0 && (last || full && off == start) {
		// A line as large as the buffer, or the last one: take what there is.
		c.line(f, off, b, !last)
		off += int64(len(b))
	}
	c.stats.read += off - start
	f.read = off
}

// line takes one line of a file, without its newline, or with more the next
// piece of one that is larger than a read.
func (c *chain) line(f *file, off int64, text []byte, more bool) {
	l := join.Line{Pos: join.Pos{File: f.num, Offset: off}}
	if f.midStart >= 0 {
		l.Line = f.midLine
		l.Text = text
		l.Partial = more || f.midLine.Partial
		if !more {
			f.midStart = -1
		}
	} else {
		c.stats.lines++
		l.Line, l.Unparsed = c.parse(f, text)
		if more {
			f.midStart, f.midLine = off, l.Line
			f.midLine.Text = nil
			l.Partial = true
		}
	}
	if !l.Partial {
		if n := len(l.Text); n > 0 && l.Text[n-1] == '\r' {
			l.Text = l.Text[:n-1]
		}
	}
	if f.resumed && off < f.skip[l.Stream] {
		return
	}
	c.joiner.Add(&l)
}

func (c *chain) parse(f *file, text []byte) (l parse.Line, unparsed bool) {
	var err error
	switch f.format {
	case formatCRI:
		l, err = parse.CRI(text, &c.loop.times)
	case formatDocker:
		l, c.loop.unescaped, err = parse.Docker(text, c.loop.unescaped, &c.loop.times)
	default:
		return parse.Line{Time: c.loop.now.UnixNano(), Text: text}, false
	}
	if err == nil {
		c.lastTime = l.Time
		return l, false
	}
	// Kept as it is, at the time of the lines around it.
	c.stats.unparsed++
	l = parse.Line{Time: c.lastTime, Text: text}
	if l.Time == 0 {
		l.Time = c.loop.now.UnixNano()
	}
	return l, true
}

// chunkBytes is the size at which a chunk is closed within a turn.
const chunkBytes = 512 << 10

var _ join.Emitter = (*chain)(nil)

// Emit implements [join.Emitter].
func (c *chain) Emit(r *join.Record) {
	if c.limit != nil && !c.limit.allow(&c.limitClock, r.Time, len(r.Text)) {
		c.drop(r)
		return
	}
	c.write(r)
}

// write appends a record to the current chunk.
func (c *chain) write(r *join.Record) {
	if c.cur != nil && (c.cur.file != r.Pos.File || len(c.cur.chunk.Buf) >= chunkBytes) {
		c.seal()
	}
	if c.cur == nil {
		c.cur = c.loop.newEntry(c, r.Pos.File)
	}
	e := c.cur
	e.chunk.Buf = c.program.Append(e.chunk.Buf, r, e.chunk.File)
	e.chunk.Records = append(e.chunk.Records, sink.Record{
		End: len(e.chunk.Buf), Offset: r.Pos.Offset,
		Millis: min(r.Time, c.loop.now.UnixNano()) / 1e6,
	})
	e.lines++
	e.bytes += int64(len(r.Text))
	e.last = r.Time
}

// seal ends the current chunk, which is sent at the end of the turn.
func (c *chain) seal() {
	if c.cur == nil {
		return
	}
	c.loop.fit(c.cur)
	c.fifo = append(c.fifo, c.cur)
	c.cur = nil
}

// flush ends a turn: chunks are sent, and marks say what their acknowledgement
// means.
func (c *chain) flush() {
	c.boundHeld()
	c.seal()
	marks := c.marks()
	if len(marks) > 0 {
		if n := len(c.fifo); n == 0 || c.fifo[n-1].sent {
			c.fifo = append(c.fifo, &entry{chain: c, acked: true, sent: true})
		}
		e := c.fifo[len(c.fifo)-1]
		e.marks = append(e.marks, marks...)
	}
	for _, e := range c.fifo {
		if !e.sent {
			e.sent = true
			c.stats.sent += uint64(e.lines)
			c.loop.buffered += e.cost
			c.loop.sink.Send(&e.chunk)
		}
	}
	c.settle()
}

// boundHeld keeps the lines that wait for their end within half of the budget,
// or one of the longest lines, all containers' together: above it, one that is
// being read waits no more.
func (c *chain) boundHeld() {
	n, _ := c.joiner.Holding()
	bound := max(c.loop.budget/2, int64(c.loop.cfg.MaxLine))
	if c.loop.held += int64(n) - c.held; c.loop.held > bound && n > 0 {
		c.joiner.Cut()
		c.loop.held -= int64(n)
		n = 0
	}
	c.held = int64(n)
}

// marks returns how far each file's progress may move when all that was read
// is acknowledged: not past a line that the joiner still holds.
func (c *chain) marks() []mark {
	var out []mark
	for _, f := range c.files {
		if f.id == "" || f.read == 0 {
			continue
		}
		to := f.read
		if f.midStart >= 0 && f.read-f.midStart <= 16<<20 {
			to = f.midStart
		}
		m := mark{f: f}
		moves := false
		for s := range parse.Streams {
			m.safe[s] = max(c.joiner.Safe(f.num, s, to), f.skip[s])
			moves = moves || m.safe[s] > f.marked(s)
		}
		if moves {
			f.markedTo = m.safe
			out = append(out, m)
		}
	}
	return out
}

// settle takes what is acknowledged off the front and applies its marks.
func (c *chain) settle() {
	n := 0
	for n < len(c.fifo) && c.fifo[n].acked {
		e := c.fifo[n]
		for _, m := range e.marks {
			for s := range parse.Streams {
				m.f.safe[s] = max(m.f.safe[s], m.safe[s])
			}
			c.loop.changed = true
			if m.f.done() {
				m.f.noteTail()
				m.f.close()
			}
		}
		if e.cost > 0 {
			c.stats.acked += uint64(e.lines)
			c.stats.ackedBytes += e.bytes
			c.stats.lastAcked = e.last
			c.loop.recycle(e)
		}
		n++
	}
	if n > 0 {
		c.fifo = slices.Delete(c.fifo, 0, n)
	}
	if len(c.fifo) == 0 {
		c.fifo = nil
	}
}
