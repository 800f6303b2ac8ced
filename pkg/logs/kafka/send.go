package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/truesize/truesize/pkg/logs/sink"
)

// A producerID is the identity under which a broker recognises a batch that
// was sent twice.
type producerID struct {
	mu    sync.Mutex
	id    int64 // -1 is none
	epoch int16
}

// get returns the identity, from a broker the first time and after old, which
// a broker refused, was the last.
func (p *producerID) get(ctx context.Context, ask func(context.Context) (int64, int16, error), old int64) (int64, int16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.id < 0 || p.id == old {
		id, epoch, err := ask(ctx)
		if err != nil {
			return -1, 0, err
		}
		p.id, p.epoch = id, epoch
	}
	return p.id, p.epoch, nil
}

func (p *Producer) askProducerID(ctx context.Context) (int64, int16, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	req.TransactionTimeoutMillis = 60_000 // of no meaning without transactions
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	resp, err := req.RequestWith(ctx, p.client)
	if err != nil {
		return -1, 0, fmt.Errorf("get a producer id: %w", err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return -1, 0, fmt.Errorf("get a producer id: %w", err)
	}
	return resp.ProducerID, resp.ProducerEpoch, nil
}

// send writes one batch of each of parts, which are busy for it, to their
// leader, and deals with the answer.
func (p *Producer) send(ctx context.Context, leader int32, parts []*partition) {
	outcome, err := p.request(ctx, leader, parts)
	p.mu.Lock()
	p.inflight[leader]--
	p.mu.Unlock()
	for _, part := range parts {
		perr := err
		if perr == nil {
			code, ok := outcome[part]
			if perr = kerr.ErrorForCode(code); !ok {
				perr = errors.New("the broker's answer leaves the partition out")
			}
		}
		p.decide(ctx, part, perr)
	}
	p.poke()
}

// request builds, sends and waits. An error is one of all parts.
func (p *Producer) request(ctx context.Context, leader int32, parts []*partition) (map[*partition]int16, error) {
	if err := p.build(ctx, parts); err != nil {
		return nil, err
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	req.TimeoutMillis = int32(p.timeout.Milliseconds())
	index := map[string]int{}
	byPlace := map[string]map[int32]*partition{}
	wireBytes := 0
	for _, part := range parts {
		name := part.topic.name
		i, ok := index[name]
		if !ok {
			t := kmsg.NewProduceRequestTopic()
			t.Topic, t.TopicID = name, p.topicID(part.topic)
			i = len(req.Topics)
			req.Topics = append(req.Topics, t)
			index[name] = i
			byPlace[name] = map[int32]*partition{}
		}
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition = part.id
		rp.Records = part.wires[0].data
		wireBytes += len(rp.Records)
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
		byPlace[name][part.id] = part
	}
	raw, err := p.client.Broker(int(leader)).Request(ctx, req)
	p.mu.Lock()
	p.stats.Requests++
	p.stats.WireBytes += uint64(wireBytes)
	p.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("produce to broker %d: %w", leader, err)
	}
	resp, ok := raw.(*kmsg.ProduceResponse)
	if !ok {
		return nil, fmt.Errorf("produce to broker %d: it answers with %T", leader, raw)
	}
	outcome := map[*partition]int16{}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		places := byPlace[t.Topic]
		if t.Topic == "" { // from version 13 on, topics have ids only
			for j := range req.Topics {
				if req.Topics[j].TopicID == t.TopicID {
					places = byPlace[req.Topics[j].Topic]
				}
			}
		}
		for j := range t.Partitions {
			if part := places[t.Partitions[j].Partition]; part != nil {
				outcome[part] = t.Partitions[j].ErrorCode
			}
		}
	}
	return outcome, nil
}

// topicID is what metadata, which come while a request is built, say of t.
func (p *Producer) topicID(t *topic) [16]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return t.id
}

// build makes the first batch of each part ready to send.
func (p *Producer) build(ctx context.Context, parts []*partition) error {
	e := p.encoder()
	defer func() {
		p.mu.Lock()
		p.encoders = append(p.encoders, e)
		p.mu.Unlock()
	}()
	for _, part := range parts {
		p.mu.Lock()
		part.fill(e, part.topic.limit)
		w := part.wires[0]
		var buf []byte
		if n := len(p.buffers); w.data == nil && n > 0 {
			buf, p.buffers = p.buffers[n-1], p.buffers[:n-1]
		}
		p.mu.Unlock()
		if part.producer < 0 {
			id, epoch, err := p.ids.get(ctx, p.askProducerID, -1)
			if err != nil {
				return err
			}
			part.producer, part.epoch, part.sequence = id, epoch, 0
		}
		if w.data == nil {
			data, err := e.encode(buf[:0], w.spans)
			if err != nil {
				return err
			}
			w.data = data
		}
		stamp(w.data, part.producer, part.epoch, part.sequence)
	}
	return nil
}

// decide deals with what became of a part's first batch.
func (p *Producer) decide(ctx context.Context, part *partition, err error) {
	switch {
	case err == nil, errors.Is(err, kerr.DuplicateSequenceNumber):
		p.delivered(part)
		return
	case refusedBatch(err):
		p.rejected(part, err)
		return
	case errors.Is(err, kerr.InvalidTopicException):
		p.mu.Lock()
		part.busy = false
		p.refuseTopic(part.topic, fmt.Sprintf("topic %s: %v", part.topic.name, err))
		p.mu.Unlock()
		return
	case lostProducer(err):
		if _, _, gerr := p.ids.get(ctx, p.askProducerID, part.producer); gerr != nil {
			err = gerr
		} else {
			part.producer = -1
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed(kind(err), err)
	part.retryAt = time.Now().Add(p.backoff(part.failures))
	part.failures++
	part.busy = false
	p.wantMetadata(p.backoff(part.failures) / 2)
}

// delivered takes an acknowledged batch out of its partition.
func (p *Producer) delivered(part *partition) {
	p.mu.Lock()
	w := p.drop(part)
	part.failures, part.retryAt = 0, time.Time{}
	part.sequence = int32((int64(part.sequence) + int64(w.count)) & 0x7fffffff)
	p.stats.Records += uint64(w.count)
	p.stats.LastError = ""
	for _, s := range w.spans {
		p.stats.Bytes += uint64(spanBytes(s))
	}
	part.busy = false
	p.mu.Unlock()
	p.finish(w.spans)
}

// drop takes the first batch out of its partition and keeps its buffer for the
// next. The mutex is held.
func (p *Producer) drop(part *partition) *wire {
	w := part.wires[0]
	part.wires = part.wires[1:]
	for _, s := range w.spans {
		part.bytes -= spanBytes(s)
	}
	if len(p.buffers) < 2*maxInflight && cap(w.data) <= 2*p.cfg.batchBytes() {
		p.buffers = append(p.buffers, w.data)
	}
	w.data = nil
	return w
}

// spanBytes is the length of the values of a span.
func spanBytes(s span) int {
	c := s.it.chunk
	from := 0
	if s.from > 0 {
		from = c.Records[s.from-1].End
	}
	return c.Records[s.to-1].End - from
}

// rejected deals with a batch that the broker takes in no form: it is parted
// until the records at fault are alone, and these are refused.
func (p *Producer) rejected(part *partition, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Errors[kind(err)]++
	w := part.wires[0]
	tooLarge := errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge)
	if w.count > 1 {
		if tooLarge {
			part.topic.limit = max(min(part.topic.limit, w.plain)/2, 1<<10)
		}
		part.split()
		part.busy = false
		return
	}
	if tooLarge { // by itself: the batches it was in may have had a good size
		part.topic.limit = p.cfg.batchBytes()
	}
	w = p.drop(part)
	part.busy = false
	p.refuse(w.spans, err.Error())
}

// refuse puts records in the dead-letter place, and then they are done. The
// mutex is held.
func (p *Producer) refuse(spans []span, reason string) {
	n := 0
	for _, s := range spans {
		n += s.to - s.from
	}
	p.stats.DeadLetters[deadReason(reason)] += uint64(n)
	p.start(func() { p.bury(spans, reason) })
}

// bury writes dead letters for as long as it takes.
func (p *Producer) bury(spans []span, reason string) {
	now := time.Now()
	topic, n := spans[0].it.chunk.Topic, 0
	for _, s := range spans {
		n += s.to - s.from
	}
	p.log.Error("kafka: records refused for good", "records", n, "topic", topic, "reason", reason)
	if t := p.cfg.DeadLetterTopic; t != "" && topic != t {
		for _, s := range spans {
			p.Send(deadChunk(t, now, reason, s, func(*sink.Chunk) { p.finish([]span{s}) }))
		}
		return
	}
	var letters []sink.DeadLetter
	for _, s := range spans {
		letters = append(letters, lettersOf(now, reason, s)...)
	}
	for failures := 0; ; failures++ {
		err := p.letters.Add(letters)
		if err == nil {
			p.finish(spans)
			return
		}
		p.mu.Lock()
		p.failed("dead-letter", err)
		p.mu.Unlock()
		select {
		case <-p.stop:
			return // not done, so read and refused again after the start
		case <-time.After(p.backoff(failures)):
		}
	}
}

// refusedBatch says that a broker will never take a batch as it is.
func refusedBatch(err error) bool {
	for _, e := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.UnsupportedForMessageFormat} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// lostProducer says that the broker does not know, or no longer trusts, the
// producer's id or its sequence. Records go on under a new id: what was
// written under the old one without our knowing comes twice.
func lostProducer(err error) bool {
	for _, e := range []error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.ProducerFenced} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// kind is a short name of an error, for the metric's label.
func kind(err error) string {
	var ke *kerr.Error
	if errors.As(err, &ke) {
		return ke.Message
	}
	return "connection"
}
