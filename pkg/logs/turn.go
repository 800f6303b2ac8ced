package logs

import (
	"errors"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/logs/join"
	"github.com/truesize/truesize/pkg/logs/quantity"
	"github.com/truesize/truesize/pkg/logs/record"
	"github.com/truesize/truesize/pkg/logs/source"
)

const (
	// quantum is how much of a file is read in one turn, in bytes.
	quantum = 128 << 10
	// pollInterval is how often a file that was written lately is looked at.
	pollInterval = 50 * time.Millisecond
	// quietPolls is after how many polls without data the kernel is asked to
	// say when a file changes.
	quietPolls = 20
	// goneGrace is how long a file that lost its name, or whose container was
	// started anew, must not have grown to be taken as complete.
	goneGrace = 2 * time.Second
	// metadataWait is how long a new container waits for what the runtime
	// knows of it.
	metadataWait = time.Second
)

// An outcome is how a turn ended.
type outcome uint8

const (
	turnMore    outcome = iota // there is more to read now
	turnEnd                    // the end was reached: poll
	turnBlocked                // no room: when acknowledgements come
	turnNothing                // no file is open
)

// turn reads a piece of the chain's oldest unread file.
func (l *loop) turn(c *chain) outcome {
	if !c.configured && !l.configure(c) {
		return turnEnd
	}
	if l.buffered >= l.budget || !l.sink.Ready(c.topic, c.key) {
		return turnBlocked
	}
	f := c.head()
	if f == nil {
		return l.without(c)
	}
	if f.id == "" && !l.identify(f) {
		return l.unidentified(c, f)
	}
	if f.shadowOf != nil {
		return turnEnd
	}
	if !l.sameHead(f) {
		l.truncated(f)
		return turnMore
	}
	n, err := f.src.ReadAt(l.buf, f.read)
	if n == 0 {
		return l.end(c, f, err)
	}
	before, live := f.read, f.atEnd
	c.consume(f, l.buf[:n], n == len(l.buf), false)
	f.size = max(f.size, before+int64(n))
	if f.read == before { // a line without its end
		out := l.end(c, f, err)
		c.flush()
		return out
	}
	f.atEnd, f.lastGrowth, c.idlePolls = false, l.now, 0
	if passed := l.now.Sub(c.idleAt); !live || passed >= pollInterval/2 {
		if live { // what the other stream waits for has not come
			c.joiner.Tick(l.polls())
		}
		c.idleAt = l.now
	}
	c.flush()
	if n < len(l.buf) {
		f.atEnd = true
		if !f.gzip && c.after(f) == nil {
			return turnEnd // likely the end: the next poll will tell
		}
	}
	return turnMore
}

// without deals with a chain that has no file to read now.
func (l *loop) without(c *chain) outcome {
	c.idlePolls++
	l.idle(c)
	for _, f := range c.files {
		if f.shadowOf != nil {
			if c.idlePolls%quietPolls == 0 {
				l.reshadow(c.dir)
			}
			return turnEnd
		}
	}
	if _, held := c.joiner.Holding(); held || c.dropped.lines > 0 {
		return turnEnd
	}
	return turnNothing
}

// unidentified deals with a file that has no first line yet.
func (l *loop) unidentified(c *chain, f *file) outcome {
	if f.shadowOf != nil || f.src == nil {
		return turnEnd
	}
	if f.gzip && !l.settledFile(f) {
		return turnEnd // being compressed
	}
	if c.after(f) != nil || !f.present && l.now.Sub(f.deletedAt) > goneGrace || f.gzip {
		// It will not get one any more. Without content there is nothing to
		// read; else what there is is its first line.
		head, _, err := readHead(f.src)
		if len(head) == 0 {
			if err != nil && !errors.Is(err, io.EOF) {
				l.unreadable(f, err)
			}
			f.final = true
			f.close()
			return turnMore
		}
		l.bind(f, head)
		return turnMore
	}
	c.idlePolls++
	return turnEnd
}

// end deals with a file of which all was read for now.
func (l *loop) end(c *chain, f *file, err error) outcome {
	f.atEnd = true
	if f.gzip {
		if err != nil && !errors.Is(err, io.EOF) {
			if !l.settledFile(f) {
				f.src.(*gzipContent).release() // being compressed: once more
				return turnEnd
			}
			l.unreadable(f, err)
		}
		l.finish(c, f)
		return turnMore
	}
	if err != nil {
		l.unreadable(f, err)
		l.finish(c, f)
		return turnMore
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.osFile().Fd()), &st); err == nil {
		if st.Size < f.read {
			l.truncated(f)
			return turnMore
		}
		f.size = st.Size
	}
	// Its name may be that of its compressed form by now.
	gone := !f.present || st.Nlink == 0
	if next := c.after(f); next != nil && hasData(next) && l.leftBehind(c, f, next) {
		// What finish still reads of it is the last of it.
		l.finish(c, f)
		return turnMore
	}
	quiet := l.now.Sub(f.lastGrowth) > goneGrace
	switch {
	case gone && quiet && l.now.Sub(f.deletedAt) > goneGrace:
		l.finish(c, f)
		return turnMore
	case quiet && c.replaced():
		l.finish(c, f)
		return turnMore
	}
	c.idlePolls++
	l.idle(c)
	return turnEnd
}

// leftBehind says whether f, which is read to its end, gets no more, now that
// the next file has data. A runtime goes on to that while the last lines of one
// stream, or the first half of one, are still on their way to f.
func (l *loop) leftBehind(c *chain, f, next *file) bool {
	if c.after(next) != nil || l.settledFile(f) {
		return true
	}
	if f.nextAt.IsZero() {
		f.nextAt = l.now
	}
	return l.now.Sub(f.nextAt) >= pollInterval && l.now.Sub(f.lastGrowth) >= pollInterval
}

// settledFile says whether a file was not written for a while. The time of its
// last change is of the future when the clock was set back since.
func (l *loop) settledFile(f *file) bool {
	st, err := f.osFile().Stat()
	return err != nil || l.now.Sub(st.ModTime()).Abs() > goneGrace
}

// hasData says whether there is anything in a file.
func hasData(f *file) bool {
	if f.read > 0 || f.gzip {
		return true
	}
	st, err := f.osFile().Stat()
	return err == nil && st.Size() > 0
}

// replaced says whether the kubelet has started the container anew: this chain
// gets no more.
func (c *chain) replaced() bool {
	if c.dir.kind != source.Pods {
		return false
	}
	for _, o := range c.dir.chains {
		if o.ref.Restart > c.ref.Restart {
			return true
		}
	}
	return false
}

// finish takes what is left of a file without a newline, and ends the file.
func (l *loop) finish(c *chain, f *file) {
	for {
		n, err := f.src.ReadAt(l.buf, f.read)
		if n == 0 {
			break
		}
		c.consume(f, l.buf[:n], n == len(l.buf), n < len(l.buf))
		if err != nil {
			break
		}
	}
	if f.midStart >= 0 { // a line that ends where a read did
		c.line(f, f.read, nil, false)
	}
	f.final = true
	f.size = max(f.size, f.read)
	if c.after(f) == nil && (!f.present || c.replaced()) {
		c.joiner.Flush() // the container is gone
		c.sayDropped()
	}
	c.flush()
	if f.done() {
		f.noteTail()
		f.close()
		l.afterAck(c)
	}
	l.changed = true
}

// idle gives the joiner its sense of time while nothing comes.
func (l *loop) idle(c *chain) {
	if _, held := c.joiner.Holding(); !held && c.dropped.lines == 0 {
		return
	}
	// Turns come more rarely than polls when there is much to read, or no room,
	// and more often when the directory changes.
	multi, part := l.polls()
	passed := l.now.Sub(c.idleAt)
	c.idleAt = l.now.Add(-(passed % pollInterval))
	for range min(int(passed/pollInterval), max(multi, part)+1) {
		c.joiner.Tick(multi, part)
	}
	if c.idlePolls > quietPolls {
		c.sayDropped()
	}
	c.flush()
}

// polls returns for how many polls a record's next line, and the end of a line,
// are waited for.
func (l *loop) polls() (multi, part int) {
	n := func(d quantity.Duration) int { return max(int(time.Duration(d)/pollInterval), 1) }
	return n(l.cfg.MultilineTimeout), n(l.cfg.PartialTimeout)
}

// configure sets up a chain with what is known of its container. It says false
// while more may become known.
func (l *loop) configure(c *chain) bool {
	m, known := c.dir.meta, c.dir.metaKnown
	if l.metadata != nil {
		if got, ok := l.metadata.Container(c.ref); ok {
			m, known = got, true
		} else if !known && l.now.Before(c.waitUntil) {
			return false
		}
	}
	c.meta, c.dir.meta, c.dir.metaKnown = m, m, known
	if m.Annotations[AnnotationLogs] == "false" {
		c.dir.excluded = true
		for _, o := range c.dir.chains {
			l.discard(o)
		}
		return false
	}
	ref := c.ref
	ref.Namespace, ref.Pod = orElse(ref.Namespace, m.Namespace), orElse(ref.Pod, m.Pod)
	ref.UID, ref.Container = orElse(ref.UID, m.UID), orElse(m.Container, ref.Container)
	c.ref = ref
	c.topic = l.topic(ref.Namespace, m.Annotations[AnnotationTopic])
	c.key = []byte(strings.TrimLeft(ref.Namespace+"/"+ref.Pod+"/"+ref.Container, "/"))
	c.program = l.program(c)
	c.joiner = join.New(int(l.cfg.MaxLine), l.rule(m.Annotations[AnnotationMultiline]), c)
	c.limit = l.limiter(c)
	c.configured = true
	return true
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// topic applies Config.Topics.
func (l *loop) topic(namespace, annotation string) string {
	if annotation != "" && l.topicAllowed(annotation) {
		return annotation
	}
	if t := l.cfg.Topics.Namespaces[namespace]; t != "" {
		return t
	}
	return l.cfg.Topics.Default
}

// topicName says whether Kafka takes t as a topic's name.
func topicName(t string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return len(t) > 0 && len(t) <= 249 && strings.Trim(t, letters) == "" && t != "." && t != ".."
}

func (l *loop) topicAllowed(t string) bool {
	if l.cfg.Topics.Annotation == "-" || !topicName(t) {
		return false
	}
	return l.topicRule == nil || l.topicRule.FindString(t) == t
}

// rule returns the multi-line rule of an annotation, or the configured one.
func (l *loop) rule(annotation string) join.Rule {
	if annotation != "" {
		r, err := join.NewRule(annotation)
		if err == nil {
			return r
		}
		l.log.Warn("logs: annotation "+AnnotationMultiline+" is of no use, the configured rule is used", "error", err)
	}
	r, err := join.NewRule(l.cfg.Multiline)
	if err != nil {
		panic(err) // Validate accepted it
	}
	return r
}

// program returns the compiled record format of a chain.
func (l *loop) program(c *chain) *record.Program {
	name := l.cfg.Format
	if a := c.meta.Annotations[AnnotationFormat]; a != "" {
		if _, ok := l.formats[a]; ok {
			name = a
		} else {
			l.log.Warn("logs: annotation "+AnnotationFormat+" names no configured format", "format", a, "pod", c.ref.Pod)
		}
	}
	f := l.formats[name]
	p, err := f.Compile(&record.Meta{
		Namespace: c.ref.Namespace, Pod: c.ref.Pod, PodUID: c.ref.UID, PodIP: c.meta.PodIP,
		Container: c.ref.Container, ContainerID: c.meta.ID, Image: c.meta.Image, App: c.meta.App,
		Node: l.cfg.Node, NodeIP: l.cfg.NodeIP, File: c.files[0].firstSeen, Restart: c.ref.Restart,
		Labels: c.meta.Labels, Annotations: c.meta.Annotations,
	})
	if err != nil {
		panic(err) // Validate accepted it
	}
	return p
}

func podKey(r Ref) string { return r.Namespace + "/" + r.Pod + "/" + r.UID }

// limiter returns the rate limit that the chains of a pod share.
func (l *loop) limiter(c *chain) *limiter {
	key := podKey(c.ref)
	if lim, ok := l.limits[key]; ok {
		return lim
	}
	lim := newLimiter(l.cfg.RateLimit)
	l.limits[key] = lim
	return lim
}
