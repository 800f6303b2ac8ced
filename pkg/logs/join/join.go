// Package join makes whole records of a container's lines: it joins the
// partial lines a runtime splits long output into, for each stream apart, and
// on request the lines of one stack trace.
//
// It is pure: no I/O and no clock. What it holds back it can name, as the
// positions from which reading must start again after a crash.
package join

import "github.com/truesize/truesize/pkg/logs/parse"

// A Pos is where a line starts: a file, by a number of the caller's, and the
// offset in it.
type Pos struct {
	File   uint64
	Offset int64
}

// A Record is one or more lines made whole.
type Record struct {
	Text   []byte // valid until the emitter returns
	Time   int64  // of the first line, nanoseconds since 1970 UTC
	Stream parse.Stream
	Pos    Pos // of the first line
	// Split says that the line was longer than the bound and goes on in the
	// stream's next record, Continued that it began in the one before.
	Split, Continued bool
	// Unparsed says that the line is not in the log's format; Text is all of it.
	Unparsed bool
}

// An Emitter receives records.
type Emitter interface{ Emit(*Record) }

// A Line is a parsed line with its place.
type Line struct {
	parse.Line
	Pos      Pos
	Unparsed bool
}

// held is a record under construction.
type held struct {
	open      bool
	buf       []byte
	time      int64
	pos       Pos   // of the record: within a line, when a line was cut
	starts    []Pos // its first line in each file that it is made of
	continued bool
	unparsed  bool
	age       int // Tick calls since the last line
}

// start begins a record with text from byte cut of line l on.
func (h *held) start(l *Line, cut int64, continued bool) {
	h.open, h.time, h.continued, h.unparsed, h.age = true, l.Time, continued, l.Unparsed, 0
	h.buf = h.buf[:0]
	h.pos = Pos{l.Pos.File, l.Pos.Offset + cut}
	h.starts = append(h.starts[:0], l.Pos)
}

// add notes where a further line starts, if it is the first of its file.
func (h *held) add(p Pos) {
	h.age = 0
	for _, s := range h.starts {
		if s.File == p.File {
			return
		}
	}
	h.starts = append(h.starts, p)
}

// shrinkAbove is the capacity in bytes above which an emptied buffer is given
// back: a container that once wrote a long line does not hold it for ever.
const shrinkAbove = 64 << 10

func (h *held) close() {
	h.open = false
	if cap(h.buf) > shrinkAbove {
		h.buf = nil
	}
}

// A Joiner joins the lines of one container. It is for one goroutine.
type Joiner struct {
	max   int
	rule  Rule
	out   Emitter
	part  [parse.Streams]held // partial lines
	multi [parse.Streams]held // lines of one multi-line record
	state [parse.Streams]int  // of the rule
	cut   [parse.Streams]bool // the next line goes on a record that was cut
	rec   Record
}

// New returns a joiner that emits to out. A record's text is at most max bytes
// (at least 1). A nil rule joins no whole lines.
func New(max int, rule Rule, out Emitter) *Joiner {
	return &Joiner{max: max, rule: rule, out: out}
}

// Add takes the container's next line. It keeps no reference to its text.
func (j *Joiner) Add(l *Line) {
	p := &j.part[l.Stream]
	cutBefore := j.cut[l.Stream]
	if !p.open && !l.Partial && len(l.Text) <= j.max && !cutBefore {
		j.whole(l, false, false)
		return
	}
	if !p.open {
		p.start(l, 0, cutBefore)
		j.cut[l.Stream] = false
	} else {
		p.add(l.Pos)
	}
	text, cut := l.Text, int64(0)
	for len(p.buf)+len(text) > j.max {
		// Cut between two lines of the file where that is possible: then
		// reading can start again behind the cut.
		n := 0
		if len(p.buf) == 0 {
			n = j.max
		}
		p.buf = append(p.buf, text[:n]...)
		text, cut = text[n:], cut+int64(n)
		j.emitPart(p, l.Stream, true)
		p.start(l, cut, true)
	}
	p.buf = append(p.buf, text...)
	if !l.Partial {
		j.emitPart(p, l.Stream, false)
	}
}

// emitPart passes on the partial line as far as it has come.
func (j *Joiner) emitPart(p *held, s parse.Stream, split bool) {
	l := Line{Line: parse.Line{Time: p.time, Stream: s, Text: p.buf}, Pos: p.pos, Unparsed: p.unparsed}
	// While the line is passed on it is held by nobody but the next stage,
	// which must know all files it came from.
	starts := p.starts
	p.open = false
	j.wholeFrom(&l, starts, split, p.continued)
	p.close()
}

func (j *Joiner) whole(l *Line, split, continued bool) {
	if j.rule == nil {
		j.emit(l, split, continued)
		return
	}
	j.wholeFrom(l, nil, split, continued)
}

func (j *Joiner) wholeFrom(l *Line, starts []Pos, split, continued bool) {
	if j.rule == nil {
		j.emit(l, split, continued)
		return
	}
	m := &j.multi[l.Stream]
	goesOn, state := j.rule(j.state[l.Stream], l.Text)
	j.state[l.Stream] = state
	if m.open && (continued || (goesOn && !l.Unparsed)) {
		if len(m.buf)+1+len(l.Text) <= j.max && !continued {
			m.buf = append(append(m.buf, '\n'), l.Text...)
			m.add(l.Pos)
			for _, s := range starts {
				m.add(s)
			}
			return
		}
		j.emitMulti(l.Stream, true)
		continued = true
	}
	if m.open {
		j.emitMulti(l.Stream, false)
	}
	if split { // its rest comes next and is emitted apart
		j.emit(l, split, continued)
		return
	}
	m.start(l, 0, continued)
	if len(starts) > 0 {
		m.starts = m.starts[:0]
	}
	for _, s := range starts {
		m.add(s)
	}
	m.buf = append(m.buf, l.Text...)
}

func (j *Joiner) emitMulti(s parse.Stream, split bool) {
	m := &j.multi[s]
	l := Line{Line: parse.Line{Time: m.time, Stream: s, Text: m.buf}, Pos: m.pos, Unparsed: m.unparsed}
	m.open = false
	j.emit(&l, split, m.continued)
	m.close()
}

func (j *Joiner) emit(l *Line, split, continued bool) {
	j.rec = Record{
		Text: l.Text, Time: l.Time, Stream: l.Stream, Pos: l.Pos,
		Split: split, Continued: continued, Unparsed: l.Unparsed,
	}
	j.out.Emit(&j.rec)
	j.rec.Text = nil
}

// Flush emits all that is held back: the container is gone, or it says nothing
// more.
func (j *Joiner) Flush() {
	for s := range parse.Streams {
		if p := &j.part[s]; p.open {
			j.emitPart(p, s, false)
		}
		if j.multi[s].open {
			j.emitMulti(s, false)
		}
		j.state[s] = 0
	}
}

// Cut emits all that is held back to free its memory. A partial line goes on in
// the stream's next record.
func (j *Joiner) Cut() {
	for s := range parse.Streams {
		if p := &j.part[s]; p.open {
			j.emitPart(p, s, true)
			j.cut[s] = true
		}
		if j.multi[s].open {
			j.emitMulti(s, false)
		}
	}
}

// Tick emits the multi-line records to which no line was added in the last
// multiTicks calls of Tick, and the partial lines to which none was added in
// partTicks. Zero is never.
func (j *Joiner) Tick(multiTicks, partTicks int) {
	for s := range parse.Streams {
		if p := &j.part[s]; p.open {
			if p.age++; partTicks > 0 && p.age > partTicks {
				j.emitPart(p, s, false)
			}
		}
		if m := &j.multi[s]; m.open && !j.part[s].open {
			if m.age++; multiTicks > 0 && m.age > multiTicks {
				j.emitMulti(s, false)
				j.state[s] = 0
			}
		}
	}
}

// Holding says whether anything is held back, and how many bytes of memory that
// takes.
func (j *Joiner) Holding() (bytes int, any bool) {
	for s := range parse.Streams {
		for _, h := range [...]*held{&j.part[s], &j.multi[s]} {
			if h.open {
				bytes, any = bytes+cap(h.buf), true
			}
		}
	}
	return bytes, any
}

// Safe returns the offset in file before which nothing of stream is held back:
// the start of what is held, or offset when nothing is.
func (j *Joiner) Safe(file uint64, s parse.Stream, offset int64) int64 {
	for _, h := range [...]*held{&j.part[s], &j.multi[s]} {
		if !h.open {
			continue
		}
		for _, p := range h.starts {
			if p.File == file && p.Offset < offset {
				offset = p.Offset
			}
		}
	}
	return offset
}
