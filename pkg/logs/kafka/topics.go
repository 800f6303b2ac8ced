package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metadataAge is how old what is known of topics may become.
const metadataAge = 5 * time.Minute

// missingRetry is how often a refused topic is looked for again.
const missingRetry = 30 * time.Second

// A topic is what is known of one topic.
type topic struct {
	name string
	id   [16]byte // zero with brokers before 2.8
	// partitions is empty until the topic is found.
	partitions   []*partition
	missingSince time.Time
	refused      string // why records for it are refused; empty when they are not
	limit        int    // bytes in a batch, lowered when a broker says too large
	waiting      []span // sent when it was known, and it no longer is
}

// topicFor returns the entry of a name, which it makes and has looked up when
// it is new.
func (p *Producer) topicFor(name string) *topic {
	t := p.topics[name]
	if t == nil {
		t = &topic{name: name, limit: p.cfg.batchBytes()}
		p.topics[name] = t
		p.wantMetadata(0)
	}
	return t
}

// wantMetadata has the topics looked up after a while.
func (p *Producer) wantMetadata(after time.Duration) {
	if at := time.Now().Add(after); p.metadataAt.IsZero() || at.Before(p.metadataAt) {
		p.metadataAt = at
		p.poke()
	}
}

// refreshMetadata asks a broker about all topics in use.
func (p *Producer) refreshMetadata(ctx context.Context) {
	p.mu.Lock()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = p.cfg.AutoCreateTopics
	for name := range p.topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	p.mu.Unlock()
	if len(req.Topics) == 0 { // would ask for all there are
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	resp, err := req.RequestWith(ctx, p.client)

	p.mu.Lock()
	defer p.mu.Unlock()
	p.metadataBusy = false
	if err != nil {
		p.failed("metadata", err)
		p.wantMetadata(p.backoff(p.metadataFailures))
		p.metadataFailures++
		return
	}
	p.metadataFailures = 0
	next := metadataAge
	for i := range resp.Topics {
		if again := p.learn(&resp.Topics[i]); again < next {
			next = again
		}
	}
	p.wantMetadata(next)
	p.wakeReader()
	p.poke()
}

// learn takes over what a broker says of a topic, and returns when to ask
// again.
func (p *Producer) learn(rt *kmsg.MetadataResponseTopic) time.Duration {
	if rt.Topic == nil {
		return metadataAge
	}
	t := p.topics[*rt.Topic]
	if t == nil {
		return metadataAge
	}
	switch err := kerr.ErrorForCode(rt.ErrorCode); err {
	case nil:
	case kerr.UnknownTopicOrPartition:
		return p.missing(t)
	case kerr.InvalidTopicException:
		p.refuseTopic(t, fmt.Sprintf("topic %.249q: brokers take no such name", t.name))
		return missingRetry
	default: // no permission, no leader for its creation …: not for ever
		p.failed("topic", fmt.Errorf("topic %s: %w", t.name, err))
		return time.Second
	}
	t.missingSince, t.refused, t.id = time.Time{}, "", rt.TopicID
	return p.learnPartitions(t, rt)
}

func (p *Producer) missing(t *topic) time.Duration {
	now := time.Now()
	if t.missingSince.IsZero() {
		t.missingSince = now
	}
	p.failed("topic", fmt.Errorf("topic %s does not exist: create it, or set autoCreateTopics", t.name))
	if now.Sub(t.missingSince) < p.cfg.MissingTopicAfter.Or(30*time.Second) {
		return time.Second
	}
	p.refuseTopic(t, "topic "+t.name+" does not exist")
	return missingRetry
}

// refuseTopic has all records of a topic refused, those that wait first.
func (p *Producer) refuseTopic(t *topic, reason string) {
	t.refused = reason
	spans := t.waiting
	t.waiting = nil
	for _, part := range t.partitions {
		if !part.busy {
			spans = append(spans, part.unsend()...)
		}
	}
	if len(spans) > 0 {
		p.refuse(spans, reason)
	}
	p.wakeReader()
}

func (p *Producer) learnPartitions(t *topic, rt *kmsg.MetadataResponseTopic) time.Duration {
	again := metadataAge
	n := 0
	for i := range rt.Partitions {
		n = max(n, int(rt.Partitions[i].Partition)+1)
	}
	p.resize(t, n)
	for i := range rt.Partitions {
		rp := &rt.Partitions[i]
		if rp.Partition < 0 {
			continue
		}
		part := t.partitions[rp.Partition]
		if part.leader != rp.Leader {
			part.leader, part.retryAt = rp.Leader, time.Time{}
		}
		if rp.Leader < 0 {
			p.failed("leader", fmt.Errorf("topic %s, partition %d has no leader", t.name, rp.Partition))
			again = 500 * time.Millisecond
		}
	}
	spans := t.waiting
	t.waiting = nil
	for _, s := range spans {
		p.enqueue(t, s)
	}
	return again
}

// resize gives a topic n partitions. Those that are no more (the topic was
// made anew) leave their records to the others.
func (p *Producer) resize(t *topic, n int) {
	for len(t.partitions) < n {
		t.partitions = append(t.partitions, &partition{topic: t, id: int32(len(t.partitions)), leader: -1, producer: -1})
		p.partitions++
	}
	for len(t.partitions) > n && n > 0 {
		last := t.partitions[len(t.partitions)-1]
		if last.busy {
			return // next time
		}
		t.waiting = append(t.waiting, last.unsend()...)
		t.partitions = t.partitions[:len(t.partitions)-1]
		p.partitions--
	}
}
