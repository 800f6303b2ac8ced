package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/truesize/truesize/pkg/logs/quantity"
	"github.com/truesize/truesize/pkg/logs/sink"
)

const patience = 60 * time.Second

type harness struct {
	t       *testing.T
	cluster *kfake.Cluster
	p       *Producer
	letters string
	cancel  context.CancelFunc
	done    chan error
	acks    sync.WaitGroup
	mu      sync.Mutex
	order   map[string][]int64 // chunks done, by key
}

func start(t *testing.T, change func(*Config), opts ...kfake.Opt) *harness {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	h := &harness{t: t, cluster: c, letters: filepath.Join(t.TempDir(), "dead"), done: make(chan error, 1), order: map[string][]int64{}}
	cfg := Config{Brokers: c.ListenAddrs(), MissingTopicAfter: quantity.Duration(time.Second)}
	if change != nil {
		change(&cfg)
	}
	h.p, err = New(cfg, 4<<20, sink.NewDeadLetterFile(h.letters, 1<<30), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() { h.done <- h.p.Run(ctx, context.Background()) }()
	t.Cleanup(cancel)
	return h
}

// chunk sends n records of a key, with offsets from first on.
func (h *harness) chunk(topic, key string, first, n int, value func(int) string) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for !h.p.Ready(topic, []byte(key)) {
		select {
		case <-h.p.Wake():
		case <-time.After(time.Until(deadline)):
			h.t.Fatalf("no room: %+v", h.p.Stats())
		}
	}
	h.acks.Add(1)
	c := &sink.Chunk{Topic: topic, Key: []byte(key), File: "f-" + key, Done: func(c *sink.Chunk) {
		h.mu.Lock()
		h.order[key] = append(h.order[key], c.Records[0].Offset)
		h.mu.Unlock()
		h.acks.Done()
	}}
	for i := first; i < first+n; i++ {
		c.Buf = append(c.Buf, value(i)...)
		c.Records = append(c.Records, sink.Record{End: len(c.Buf), Offset: int64(i), Millis: time.Now().UnixMilli()})
	}
	h.p.Send(c)
}

func number(i int) string { return fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%100)) }

func (h *harness) wait() {
	h.t.Helper()
	all := make(chan struct{})
	go func() { h.acks.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(patience):
		h.t.Fatalf("not all is acknowledged: %+v", h.p.Stats())
	}
}

// consume reads want records and returns their values by key, in order.
func (h *harness) consume(topic string, want int) map[string][]string {
	h.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(h.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		h.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got := map[string][]string{}
	for n := 0; n < want; {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			h.t.Fatalf("%d of %d records", n, want)
		}
		fs.EachRecord(func(r *kgo.Record) { got[string(r.Key)] = append(got[string(r.Key)], string(r.Value)); n++ })
	}
	return got
}

func (h *harness) check(got map[string][]string, keys, each int) {
	h.t.Helper()
	for k := range keys {
		key := fmt.Sprint("key", k)
		if len(got[key]) != each {
			h.t.Errorf("%s: %d records, want %d", key, len(got[key]), each)
			continue
		}
		for i, v := range got[key] {
			if v != number(i) {
				h.t.Fatalf("%s: record %d is %q", key, i, v)
			}
		}
	}
}

func (h *harness) produce(topic string, keys, chunks, n int) {
	for i := range chunks {
		for k := range keys {
			h.chunk(topic, fmt.Sprint("key", k), i*n, n, number)
		}
	}
}

func TestDelivers(t *testing.T) {
	for _, codec := range []string{"lz4", "zstd", "snappy", "none"} {
		t.Run(codec, func(t *testing.T) {
			h := start(t, func(c *Config) { c.Compression = codec }, kfake.SeedTopics(5, "logs"))
			h.produce("logs", 20, 10, 50)
			h.wait()
			h.check(h.consume("logs", 20*500), 20, 500)
			if s := h.p.Stats(); s.Records != 10000 || s.Buffered != 0 || s.LastError != "" {
				t.Errorf("stats %+v", s)
			}
			h.cancel()
			if err := <-h.done; err != nil {
				t.Error(err)
			}
		})
	}
}

// What was sent before the end is delivered before Run returns.
func TestDrains(t *testing.T) {
	h := start(t, func(c *Config) { c.Linger = quantity.Duration(time.Hour) }, kfake.SeedTopics(3, "logs"))
	h.produce("logs", 5, 2, 10)
	h.cancel()
	if err := <-h.done; err != nil {
		t.Fatal(err)
	}
	h.wait()
	h.check(h.consume("logs", 100), 5, 20)
}

// Brokers fail some of the requests, in every way that can be repaired; some
// of them after the records were written. Nothing is lost, out of order, or
// there twice.
func TestBrokersFail(t *testing.T) {
	h := start(t, nil, kfake.SeedTopics(4, "logs"), kfake.NumBrokers(3))
	codes := []int16{kerr.NotLeaderForPartition.Code, kerr.RequestTimedOut.Code, kerr.NotEnoughReplicas.Code, kerr.NotEnoughReplicasAfterAppend.Code, kerr.CorruptMessage.Code}
	n := 0
	h.cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		h.cluster.KeepControl()
		n++
		if n%3 != 0 || n > 60 {
			return nil, nil, false
		}
		if n%2 == 0 {
			return nil, io.ErrClosedPipe, true // the connection breaks
		}
		req := kreq.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range req.Topics {
			t := kmsg.NewProduceResponseTopic()
			t.Topic, t.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition, p.ErrorCode = rp.Partition, codes[n%len(codes)]
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp, nil, true
	})
	h.produce("logs", 10, 40, 20)
	for i := range int32(4) { // leaders move while it runs
		if err := h.cluster.MoveTopicPartition("logs", i, (i+1)%3); err != nil {
			t.Fatal(err)
		}
	}
	h.wait()
	h.check(h.consume("logs", 10*800), 10, 800)
	if s := h.p.Stats(); len(s.Errors) == 0 {
		t.Error("no failure was seen: the test tests nothing")
	}
	for key, offs := range h.order {
		for i := 1; i < len(offs); i++ {
			if offs[i] <= offs[i-1] {
				t.Errorf("%s: chunks acknowledged in the order %v", key, offs)
				break
			}
		}
	}
}

// A broker writes a batch and then says that it failed. It must be recognised
// when it comes again.
func TestFailsAfterAppend(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend} {
		h := start(t, nil, kfake.SeedTopics(2, "logs"))
		n := 0
		f := h.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: 5, When: func(kmsg.Request) bool { n++; return n%3 == 0 }})
		for i := range 15 { // one batch after the other
			for k := range 4 {
				h.chunk("logs", fmt.Sprint("key", k), i*80, 80, number)
			}
			h.wait()
		}
		h.check(h.consume("logs", 4*1200), 4, 1200)
		if f.Hits() < 5 {
			t.Error("no failure was injected: the test tests nothing")
		}
	}
}

// Metadata come whenever they like, also while a request is built (for -race).
func TestMetadataBesideRequests(t *testing.T) {
	h := start(t, nil, kfake.SeedTopics(2, "logs"))
	ctx, cancel := context.WithCancel(context.Background())
	var metadata sync.WaitGroup
	metadata.Go(func() {
		for ctx.Err() == nil {
			h.p.refreshMetadata(ctx)
		}
	})
	for i := range 30 {
		for k := range 4 {
			h.chunk("logs", fmt.Sprint("key", k), i, 1, number)
		}
		h.wait()
	}
	cancel()
	metadata.Wait()
	h.check(h.consume("logs", 4*30), 4, 30)
}

// A broker no longer knows the producer, or fences it, for good.
func TestProducerForgotten(t *testing.T) {
	for _, code := range []int16{kerr.OutOfOrderSequenceNumber.Code, kerr.UnknownProducerID.Code, kerr.InvalidProducerEpoch.Code} {
		h := start(t, nil, kfake.SeedTopics(1, "logs"))
		n, old := 0, ""
		h.cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			h.cluster.KeepControl()
			req := kreq.(*kmsg.ProduceRequest)
			producer := string(req.Topics[0].Partitions[0].Records[atProducer : atProducer+8])
			if n++; n == 3 {
				old = producer
			}
			if producer != old {
				return nil, nil, false
			}
			resp := req.ResponseKind().(*kmsg.ProduceResponse)
			t := kmsg.NewProduceResponseTopic()
			t.Topic, t.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition, p.ErrorCode = 0, code
			t.Partitions = append(t.Partitions, p)
			resp.Topics = append(resp.Topics, t)
			return resp, nil, true
		})
		for i := range 10 {
			h.chunk("logs", "key0", i*10, 10, number)
			h.wait()
		}
		h.check(h.consume("logs", 100), 1, 100)
	}
}

func (h *harness) deadLetters() []sink.DeadLetter {
	h.t.Helper()
	data, err := os.ReadFile(h.letters)
	if err != nil {
		h.t.Fatal(err)
	}
	var out []sink.DeadLetter
	for line := range strings.Lines(string(data)) {
		var d sink.DeadLetter
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			h.t.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

// Only the records that are too large are refused; the others arrive in order.
func TestTooLarge(t *testing.T) {
	h := start(t, func(c *Config) { c.Compression = "none" }, kfake.SeedTopics(1, "logs"), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000"}))
	value := func(i int) string {
		if i == 37 || i == 80 {
			return strings.Repeat("L", 30000)
		}
		return number(i)
	}
	for i := range 10 {
		h.chunk("logs", "key0", i*10, 10, value)
	}
	h.wait()
	got := h.consume("logs", 98)["key0"]
	next := 0
	for _, v := range got {
		for next == 37 || next == 80 {
			next++
		}
		if v != number(next) {
			t.Fatalf("got %q, want record %d", v, next)
		}
		next++
	}
	letters := h.deadLetters()
	// The two are in batches of their own, which Kafka may refuse in any order.
	slices.SortFunc(letters, func(a, b sink.DeadLetter) int { return strings.Compare(a.Position, b.Position) })
	if len(letters) != 2 || len(letters[0].Value) != 30000 || letters[0].Position != "f-key0:37" || letters[1].Position != "f-key0:80" || !strings.Contains(letters[0].Reason, "MESSAGE_TOO_LARGE") {
		t.Errorf("dead letters %.200v", letters)
	}
	if s := h.p.Stats(); s.DeadLetters["too-large"] != 2 || s.Records != 98 {
		t.Errorf("stats %+v", s)
	}
}

// A topic that does not exist is waited for, then its records are refused; the
// other topic goes on. When it is made, records arrive.
func TestNoTopic(t *testing.T) {
	h := start(t, nil, kfake.SeedTopics(1, "logs"))
	gone := func(first int) {
		h.acks.Add(1)
		h.p.Send(&sink.Chunk{Topic: "gone", Key: []byte("key0"), File: "f", Buf: []byte(number(first)), Records: []sink.Record{{End: len(number(first)), Offset: int64(first)}}, Done: func(*sink.Chunk) { h.acks.Done() }})
	}
	gone(0)
	h.produce("logs", 3, 5, 10)
	h.check(h.consume("logs", 150), 3, 50)
	h.wait()
	if l := h.deadLetters(); len(l) != 1 || l[0].Topic != "gone" || l[0].Value != number(0) {
		t.Errorf("dead letters %+v", l)
	}
	if !h.p.Ready("gone", []byte("key0")) {
		t.Error("a refused topic must not hold up the reader")
	}
}

func TestDeadLetterTopic(t *testing.T) {
	h := start(t, func(c *Config) { c.DeadLetterTopic = "dead"; c.Compression = "none" }, kfake.SeedTopics(1, "logs", "dead"), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000"}))
	h.chunk("logs", "key0", 0, 3, func(i int) string { return strings.Repeat("\xff", i*15000) })
	h.wait()
	// The letter is too large itself: it ends in the file.
	if l := h.deadLetters(); len(l) != 1 || l[0].Topic != "dead" {
		t.Errorf("dead letters in the file: %d", len(l))
	}
	h.chunk("nowhere\x00", "key1", 0, 1, number)
	h.wait()
	got := h.consume("dead", 1)["key1"]
	var d sink.DeadLetter
	if err := json.Unmarshal([]byte(got[0]), &d); err != nil || d.Value != number(0) || d.Topic != "nowhere\x00" {
		t.Errorf("letter %+v, %v", d, err)
	}
}

// A dead letter is recognisable by its record's position.
func TestDeadChunk(t *testing.T) {
	c := &sink.Chunk{Topic: "t", Key: []byte("k"), File: "f", Buf: []byte("abc")}
	for i := range 3 {
		c.Records = append(c.Records, sink.Record{End: i + 1, Offset: int64(10 * i)})
	}
	now := time.Unix(5, 0)
	dead := deadChunk("dead", now, "too large", span{&item{chunk: c}, 1, 3}, nil)
	for i, want := range []string{"f:10", "f:20"} {
		var d sink.DeadLetter
		if err := json.Unmarshal(dead.Value(i), &d); err != nil {
			t.Fatal(err)
		}
		if at := string(dead.AppendPosition(nil, i)); at != want || d.Position != want || d.Value != "bc"[i:i+1] || d.Reason != "too large" {
			t.Errorf("letter %d is at %s: %+v", i, at, d)
		}
	}
}

// One partition without a leader takes its share of memory, no more, and the
// others go on.
func TestNoLeader(t *testing.T) {
	h := start(t, nil, kfake.SeedTopics(4, "logs"), kfake.NumBrokers(2))
	var keys [4]string
	for i := 0; keys[0] == "" || keys[1] == "" || keys[2] == "" || keys[3] == ""; i++ {
		k := fmt.Sprint("k", i)
		keys[partitionFor([]byte(k), 4)] = k
	}
	h.cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		h.cluster.KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range req.Topics {
			for _, rp := range rt.Partitions {
				if rp.Partition != 0 {
					continue
				}
				t := kmsg.NewProduceResponseTopic()
				t.Topic, t.TopicID = rt.Topic, rt.TopicID
				for _, rp := range rt.Partitions {
					p := kmsg.NewProduceResponseTopicPartition()
					p.Partition, p.ErrorCode = rp.Partition, kerr.NotLeaderForPartition.Code
					t.Partitions = append(t.Partitions, p)
				}
				resp.Topics = append(resp.Topics, t)
				return resp, nil, true
			}
		}
		return nil, nil, false
	})
	for !h.p.Ready("logs", []byte(keys[0])) {
		<-h.p.Wake()
	}
	big := strings.Repeat("z", 100<<10)
	sent := 0
	for ; h.p.Ready("logs", []byte(keys[0])); sent++ {
		h.p.Send(&sink.Chunk{Topic: "logs", Key: []byte(keys[0]), Buf: []byte(big), Records: []sink.Record{{End: len(big)}}, Done: func(*sink.Chunk) {}})
	}
	if b := h.p.Stats().Buffered; b > 2<<20 {
		t.Errorf("one of four partitions holds %d bytes of a budget of 4 MiB", b)
	}
	for i := range 20 {
		for _, k := range keys[1:] {
			h.chunk("logs", k, i*10, 10, number)
		}
	}
	h.wait()
}

// The buffers of batches are dropped when nothing was sent for a while, and
// not before.
func TestBuffersAreDropped(t *testing.T) {
	h := start(t, nil, kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	h.produce("t", 1, 1, 10)
	h.wait()
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if len(h.p.encoders) == 0 {
		t.Fatal("nothing is kept for the next batch")
	}
	now := time.Now().Add(time.Hour) // none of Run's
	h.p.idleSince = now
	if h.p.rest(now.Add(restAfter)); len(h.p.encoders) == 0 {
		t.Error("dropped too soon")
	}
	h.p.pending = 1
	if h.p.rest(now.Add(10 * restAfter)); len(h.p.encoders) == 0 || !h.p.idleSince.IsZero() {
		t.Error("dropped while something is on its way")
	}
	h.p.pending = 0
	h.p.rest(now)
	if h.p.rest(now.Add(2 * restAfter)); h.p.encoders != nil || h.p.buffers != nil {
		t.Error("kept")
	}
}

// A record that is too large makes no batch smaller for ever: those of the
// others are as large as before.
func TestTooLargeLeavesBatches(t *testing.T) {
	const limit = 200_000
	h := start(t, func(c *Config) { c.Compression, c.BatchBytes = "none", limit }, kfake.SeedTopics(1, "logs"), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "100000"}))
	h.chunk("logs", "key0", 0, 1000, func(i int) string {
		if i == 500 {
			return strings.Repeat("L", 110_000)
		}
		return strings.Repeat("x", 50)
	})
	h.wait()
	if l := h.deadLetters(); len(l) != 1 || l[0].Position != "f-key0:500" {
		t.Errorf("%d dead letters, want that of record 500", len(l))
	}
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if got := h.p.topics["logs"].limit; got != limit {
		t.Errorf("batches of at most %d bytes, want %d", got, limit)
	}
}
