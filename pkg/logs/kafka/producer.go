package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/truesize/truesize/pkg/logs/sink"
)

const (
	// maxInflight is how many requests a broker may have at a time: while one
	// is on its way the next is compressed.
	maxInflight = 2
	// requestBytes bounds the records in a request, before compression.
	requestBytes = 4 << 20
	// lingerDefault is the default of Config.Linger.
	lingerDefault = 20 * time.Millisecond
	// backoffMax bounds the pause before a batch is sent again.
	backoffMax = 2 * time.Second
	// restAfter is how long nothing must have come before buffers are dropped:
	// sooner than the reader gives memory back to the system.
	restAfter = 3 * time.Second
)

// A Producer is a [sink.Sink] that writes to Kafka.
type Producer struct {
	cfg     Config
	client  *kgo.Client
	log     *slog.Logger
	headers []header
	letters *sink.DeadLetterFile
	budget  int
	linger  time.Duration
	timeout time.Duration

	wake chan struct{} // to the reader
	work chan struct{} // to the dispatcher
	stop chan struct{} // closed when Run ends

	mu               sync.Mutex
	topics           map[string]*topic
	partitions       int // in all topics
	inflight         map[int32]int
	metadataAt       time.Time
	metadataBusy     bool
	metadataFailures int
	pending          int // items not yet done
	stats            sink.Stats
	ids              producerID
	encoders         []*encoder
	buffers          [][]byte
	senders          sync.WaitGroup
	closed           bool // no more senders may start
	idleSince        time.Time
}

// New returns a producer that holds at most about budget bytes of records, and
// keeps refused ones in letters unless there is a topic for them.
func New(cfg Config, budget int, letters *sink.DeadLetterFile, log *slog.Logger) (*Producer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	p := &Producer{
		cfg: cfg, client: client, log: log, letters: letters, budget: budget,
		linger: cfg.Linger.Or(lingerDefault), timeout: cfg.RequestTimeout.Or(10 * time.Second),
		wake: make(chan struct{}, 1), work: make(chan struct{}, 1), stop: make(chan struct{}),
		topics: map[string]*topic{}, inflight: map[int32]int{}, ids: producerID{id: -1},
		stats: sink.Stats{Errors: map[string]uint64{}, DeadLetters: map[string]uint64{}},
	}
	for _, k := range slices.Sorted(maps.Keys(cfg.Headers)) {
		p.headers = append(p.headers, header{k, cfg.Headers[k]})
	}
	return p, nil
}

var _ sink.Sink = (*Producer)(nil)

// Wake implements [sink.Sink].
func (p *Producer) Wake() <-chan struct{} { return p.wake }

func (p *Producer) wakeReader() { signal(p.wake) }
func (p *Producer) poke()       { signal(p.work) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Ready implements [sink.Sink]. Each partition has its share of the budget, so
// that one without a leader does not stop the others.
func (p *Producer) Ready(name string, key []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topicFor(name)
	if t.refused != "" {
		return true
	}
	if len(t.partitions) == 0 {
		return false
	}
	part := t.partitions[partitionFor(key, len(t.partitions))]
	return part.bytes < max(p.cfg.batchBytes()/2, p.budget/p.partitions)
}

// Send implements [sink.Sink].
func (p *Producer) Send(c *sink.Chunk) {
	if len(c.Records) == 0 {
		c.Done(c)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	it := &item{chunk: c, left: len(c.Records), bytes: len(c.Buf), at: time.Now()}
	p.pending++
	p.stats.Buffered += int64(it.bytes)
	p.enqueue(p.topicFor(c.Topic), span{it, 0, len(c.Records)})
}

// enqueue puts records where their key belongs.
func (p *Producer) enqueue(t *topic, s span) {
	switch {
	case t.refused != "":
		p.refuse([]span{s}, t.refused)
		return
	case len(t.partitions) == 0:
		t.waiting = append(t.waiting, s)
		return
	}
	part := t.partitions[partitionFor(s.it.chunk.Key, len(t.partitions))]
	idle := len(part.queue) == 0
	part.queue = append(part.queue, s)
	part.bytes += spanBytes(s)
	if idle || part.bytes >= t.limit {
		p.poke()
	}
}

// Run implements [sink.Sink].
func (p *Producer) Run(ctx, drain context.Context) error {
	drain, cancel := context.WithCancel(drain)
	defer func() {
		cancel()
		close(p.stop)
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.senders.Wait()
		p.client.Close()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		stopping := ctx.Err() != nil
		next, idle := p.dispatch(drain, stopping)
		if stopping && idle {
			return nil
		}
		timer.Reset(min(max(time.Until(next), 0), time.Second))
		done := ctx.Done()
		if stopping {
			done = nil
		}
		select {
		case <-drain.Done():
			return nil
		case <-done:
		case <-p.work:
		case <-timer.C:
		}
	}
}

// dispatch starts a request to every broker that can take one and has batches
// ready. It returns when to look again, and whether there is nothing left.
func (p *Producer) dispatch(ctx context.Context, drain bool) (next time.Time, idle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	next = now.Add(time.Minute)
	if !p.metadataAt.IsZero() && !p.metadataBusy {
		if now.Before(p.metadataAt) {
			next = p.metadataAt
		} else {
			p.metadataAt, p.metadataBusy = time.Time{}, true
			p.start(func() { p.refreshMetadata(ctx) })
		}
	}
	for leader, parts := range p.gather(now, drain, &next) {
		for _, part := range parts {
			part.busy = true
		}
		p.inflight[leader]++
		p.start(func() { p.send(ctx, leader, parts) })
	}
	p.rest(now)
	return next, p.pending == 0
}

// rest drops the buffers of batches when there was nothing to send for a while:
// they are megabytes. The mutex is held.
func (p *Producer) rest(now time.Time) {
	switch {
	case p.pending > 0:
		p.idleSince = time.Time{}
	case p.idleSince.IsZero():
		p.idleSince = now
	case now.Sub(p.idleSince) > restAfter:
		p.encoders, p.buffers = nil, nil
	}
}

// gather chooses what to send now, for each broker.
func (p *Producer) gather(now time.Time, drain bool, next *time.Time) map[int32][]*partition {
	var out map[int32][]*partition
	size := map[int32]int{}
	for _, t := range p.topics {
		for _, part := range t.partitions {
			ok, due := part.ready(now, p.linger, t.limit, drain)
			if !due.IsZero() && due.Before(*next) {
				*next = due
			}
			if !ok || p.inflight[part.leader] >= maxInflight || size[part.leader] >= requestBytes {
				continue
			}
			if out == nil {
				out = map[int32][]*partition{}
			}
			out[part.leader] = append(out[part.leader], part)
			size[part.leader] += min(part.bytes, t.limit)
		}
	}
	return out
}

// start runs f, which Run waits for. After Run nothing starts: what is not done
// then is read again after the next start. The mutex is held.
func (p *Producer) start(f func()) {
	if !p.closed {
		p.senders.Go(f)
	}
}

// failed notes an attempt that failed. It says so in the log at the first of a
// kind, and again as their number doubles.
func (p *Producer) failed(kind string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the broker closed the connection (does it want TLS or SASL, or other credentials?): %w", err)
	}
	p.stats.Errors[kind]++
	p.stats.LastError = err.Error()
	if n := p.stats.Errors[kind]; n&(n-1) == 0 {
		p.log.Warn("kafka: attempt failed, it is repeated", "kind", kind, "count", n, "error", err)
	}
}

// backoff is the pause after a number of failures in a row.
func (p *Producer) backoff(failures int) time.Duration {
	return min(50*time.Millisecond<<min(failures, 10), backoffMax)
}

// finish notes that the records of spans are decided.
func (p *Producer) finish(spans []span) {
	var done []*sink.Chunk
	p.mu.Lock()
	for _, s := range spans {
		if s.it.left -= s.to - s.from; s.it.left == 0 {
			p.pending--
			p.stats.Buffered -= int64(s.it.bytes)
			done = append(done, s.it.chunk)
		}
	}
	p.mu.Unlock()
	for _, c := range done {
		c.Done(c)
	}
	p.wakeReader()
	p.poke()
}

// Stats implements [sink.Sink].
func (p *Producer) Stats() sink.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Errors, s.DeadLetters = maps.Clone(s.Errors), maps.Clone(s.DeadLetters)
	return s
}

// encoder returns one that is free.
func (p *Producer) encoder() *encoder {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.encoders); n > 0 {
		e := p.encoders[n-1]
		p.encoders = p.encoders[:n-1]
		return e
	}
	comp, err := newCompressor(p.cfg.compression())
	if err != nil {
		panic(err) // New validated the name
	}
	return newEncoder(comp, p.headers)
}
