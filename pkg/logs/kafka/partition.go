package kafka

import (
	"encoding/binary"
	"time"

	"github.com/truesize/truesize/pkg/logs/sink"
)

// An item is a chunk that was given to the producer.
type item struct {
	chunk *sink.Chunk
	left  int // records not yet decided
	bytes int
	at    time.Time // when it came
}

// A wire is one batch, built and perhaps sent already. Its records stay the
// same for ever: only so does a broker see that it was sent twice.
type wire struct {
	spans []span
	count int
	plain int    // bytes before compression, roughly
	data  []byte // encoded; nil until it was built
}

// A partition is what waits for one partition of a topic. The producer's mutex
// guards it, but for wires[0] while busy: that is its sender's.
type partition struct {
	topic *topic
	id    int32

	leader int32 // a broker's id, -1 when there is none

	queue []span // not yet in a batch
	wires []*wire
	bytes int // of all items here
	busy  bool

	failures int
	retryAt  time.Time

	producer int64 // id, -1 when it has none
	epoch    int16
	sequence int32
}

// ready says whether there is a batch to send now, and if not, when there may
// be one (zero: when something comes in).
func (p *partition) ready(now time.Time, linger time.Duration, limit int, drain bool) (bool, time.Time) {
	if p.busy || p.leader < 0 || (len(p.wires) == 0 && len(p.queue) == 0) {
		return false, time.Time{}
	}
	if now.Before(p.retryAt) {
		return false, p.retryAt
	}
	if len(p.wires) > 0 || drain || p.bytes >= limit {
		return true, time.Time{}
	}
	due := p.queue[0].it.at.Add(linger)
	return !now.Before(due), due
}

// fill moves records from the queue to a new wire, at most limit bytes but at
// least one record.
func (p *partition) fill(e *encoder, limit int) {
	if len(p.wires) > 0 {
		return
	}
	w := new(wire)
	for len(p.queue) > 0 {
		s := &p.queue[0]
		from := s.from
		for s.from < s.to {
			n := e.recordBytes(s.it.chunk, s.from)
			if w.count > 0 && w.plain+n > limit {
				break
			}
			w.plain += n
			w.count++
			s.from++
		}
		if s.from > from {
			w.spans = append(w.spans, span{s.it, from, s.from})
		}
		if s.from < s.to {
			break
		}
		p.queue = p.queue[1:]
	}
	p.wires = append(p.wires, w)
}

// split parts the first wire into two halves, in order.
func (p *partition) split() {
	w := p.wires[0]
	var a, b wire
	for _, s := range w.spans {
		n := s.to - s.from
		room := w.count/2 - a.count
		switch {
		case room >= n:
			a.spans, a.count = append(a.spans, s), a.count+n
		case room > 0:
			a.spans, a.count = append(a.spans, span{s.it, s.from, s.from + room}), a.count+room
			b.spans, b.count = append(b.spans, span{s.it, s.from + room, s.to}), b.count+n-room
		default:
			b.spans, b.count = append(b.spans, s), b.count+n
		}
	}
	a.plain, b.plain = w.plain/2, w.plain/2
	p.wires = append([]*wire{&a, &b}, p.wires[1:]...)
}

// unsend puts all that is in batches back into the queue, for a partition that
// is no more.
func (p *partition) unsend() []span {
	var all []span
	for _, w := range p.wires {
		all = append(all, w.spans...)
	}
	all = append(all, p.queue...)
	p.wires, p.queue, p.bytes = nil, nil, 0
	return all
}

// partitionFor returns the partition of a key among n, as Kafka's Java client
// chooses it: murmur2 of the key.
func partitionFor(key []byte, n int) int {
	return int(murmur2(key)&0x7fffffff) % n
}

// murmur2 is the 32-bit MurmurHash2 with the seed of Kafka's clients.
func murmur2(b []byte) uint32 {
	const m, seed = 0x5bd1e995, 0x9747b28c
	h := uint32(seed) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		h = h*m ^ (k^k>>24)*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
