package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
)

// patience is how long a test waits for what must happen.
const patience = 120 * time.Second

// A consumer reads all records of a topic and checks what the writers wrote.
type consumer struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	offset  map[int32]int64 // by partition: the next one
	records int
	dups    int
	next    map[string]int // first occurrences of a stream's numbers: the next one
	seen    map[string]bool
	faults  []string
	others  []string // texts without a number
	texts   map[string]int
	news    chan struct{}
}

func newConsumer(t testing.TB, broker, topic string, tlsConf *tls.Config, auth sasl.Mechanism) *consumer {
	opts := []kgo.Opt{kgo.SeedBrokers(strings.Split(broker, ",")...), kgo.ConsumeTopics(topic), kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }), kgo.MetadataMinAge(100 * time.Millisecond)}
	if tlsConf != nil {
		opts = append(opts, kgo.DialTLSConfig(tlsConf))
	}
	if auth != nil {
		opts = append(opts, kgo.SASL(auth))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &consumer{t: t, cancel: cancel, done: make(chan struct{}), offset: map[int32]int64{}, next: map[string]int{}, seen: map[string]bool{}, texts: map[string]int{}, news: make(chan struct{}, 1)}
	go func() {
		defer close(c.done)
		defer cl.Close()
		for ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(c.take)
		}
	}()
	t.Cleanup(c.stop)
	return c
}

func (c *consumer) stop() { c.cancel(); <-c.done }

func (c *consumer) fault(format string, args ...any) {
	if len(c.faults) < 10 {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

// take checks one record. The first time a position is seen its number must
// be the stream's next one; that is order and completeness. Later times are
// duplicates, which must say so by their position.
func (c *consumer) take(r *kgo.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Where leaders move the client may fetch again what it had.
	if r.Offset < c.offset[r.Partition] {
		return
	}
	c.offset[r.Partition] = r.Offset + 1
	c.records++
	select {
	case c.news <- struct{}{}:
	default:
	}
	var rec struct{ Message string }
	if err := json.Unmarshal(r.Value, &rec); err != nil {
		c.fault("not JSON: %q", r.Value)
		return
	}
	pos := ""
	for _, h := range r.Headers {
		if h.Key == "truesize-position" {
			pos = string(h.Value)
		}
	}
	if pos == "" {
		c.fault("no position: %q", r.Value)
	}
	if c.seen[pos] {
		c.dups++
		return
	}
	c.seen[pos] = true
	var name, stream string
	var n int
	if k, err := fmt.Sscanf(rec.Message, "#%s %s %d#", &name, &stream, &n); k != 3 || err != nil {
		c.others = append(c.others, rec.Message)
		return
	}
	if want := "ns/" + name; string(r.Key) != want {
		c.fault("key %q, want %q", r.Key, want)
	}
	key := name + " " + stream
	switch want := c.next[key]; {
	case n > want:
		c.fault("%s: %d comes after %d", key, n, want-1)
	case n < want:
		c.fault("%s: %d comes again, with a new position %s", key, n, pos)
	}
	c.next[key] = n + 1
}

// await waits until all that the writers wrote has arrived.
func (c *consumer) await(ws ...*writer) {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		if c.complete(ws) {
			break
		}
		select {
		case <-c.news:
		case <-time.After(time.Second):
		case <-deadline:
			c.mu.Lock()
			for _, w := range ws {
				for i, s := range []string{"stdout", "stderr"} {
					if got := c.next[w.name+" "+s]; got != w.n[i] {
						c.t.Errorf("%s %s: %d lines of %d arrived", w.name, s, got, w.n[i])
					}
				}
			}
			c.t.Fatalf("not all arrived; faults %q", c.faults)
		}
	}
	c.check()
}

func (c *consumer) check() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults {
		c.t.Error(f)
	}
	c.t.Logf("%d records, %d duplicates", c.records, c.dups)
}

func (c *consumer) complete(ws []*writer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range ws {
		if c.next[w.name+" stdout"] != w.n[0] || c.next[w.name+" stderr"] != w.n[1] {
			return false
		}
	}
	return true
}

func (c *consumer) duplicates() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dups
}
