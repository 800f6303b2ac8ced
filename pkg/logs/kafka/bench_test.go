package kafka

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/truesize/truesize/pkg/logs/sink"
)

// BenchmarkProduce compares the producer with franz-go's own, for
// docs/decisions/0005-logs-producer.md. The broker is another process, so that only
// the producer's CPU time counts:
//
//	go build -o /tmp/kafkad ./test/kafkad && /tmp/kafkad -ports 9092 -blackhole &
//	TRUESIZE_BENCH_BROKER=127.0.0.1:9092 go test -run - -bench Produce -benchtime 20x ./pkg/logs/kafka
//
// An iteration is 8 MiB of records of 400 bytes in 8 keys.
func BenchmarkProduce(b *testing.B) {
	broker := os.Getenv("TRUESIZE_BENCH_BROKER")
	if broker == "" {
		b.Skip("TRUESIZE_BENCH_BROKER is not set")
	}
	values := recordsOf(400, 8<<20)
	for name, produce := range map[string]func(*testing.B, string, [][]byte){"ours": produceOurs, "franz-go": produceFranz} {
		b.Run(name, func(b *testing.B) {
			before := cpuTime()
			produce(b, broker, values)
			b.ReportMetric(float64(b.N)*8*1.048576/(cpuTime()-before).Seconds(), "MB/CPU-s")
		})
	}
}

func recordsOf(size, total int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	var out [][]byte
	for n := 0; n < total; n += size {
		v := fmt.Appendf(nil, `{"@timestamp":"2024-05-01T10:00:00.%03dZ","level":"info","app":"shop","host":"node-1","namespace":"shop","pod":"web-7d9c5b6f8-x2v4k","container":"app","stream":"stdout","message":"order %d created for customer %d in %d ms, session %016x`, r.IntN(1000), r.IntN(1e6), r.IntN(1e6), r.IntN(1000), r.Uint64())
		words := [...]string{" order", " customer", " payment", " session", " created", " failed", " timeout"}
		for len(v) < size-12 {
			v = append(v, words[r.IntN(len(words))]...)
		}
		out = append(out, append(v, `"}`...))
	}
	return out
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func produceOurs(b *testing.B, broker string, values [][]byte) {
	p, err := New(Config{Brokers: []string{broker}}, 16<<20, sink.NewDeadLetterFile(b.TempDir()+"/dead", 1<<20), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, context.Background()) }()
	// The reader uses its buffers again, so filling them is not measured.
	var wg sync.WaitGroup
	var chunks []*sink.Chunk
	for i := 0; i < len(values); i += 400 {
		c := &sink.Chunk{Topic: "logs", Key: fmt.Appendf(nil, "key%d", i/400%8), File: "0123456789abcdef", Done: func(*sink.Chunk) { wg.Done() }}
		for j, v := range values[i:min(i+400, len(values))] {
			c.Buf = append(c.Buf, v...)
			c.Records = append(c.Records, sink.Record{End: len(c.Buf), Offset: int64(j), Millis: 1714557600000})
		}
		chunks = append(chunks, c)
	}
	for b.Loop() {
		for _, c := range chunks {
			for !p.Ready("logs", c.Key) {
				<-p.Wake()
			}
			wg.Add(1)
			p.Send(c)
		}
		wg.Wait()
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func produceFranz(b *testing.B, broker string, values [][]byte) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.ProducerLinger(20*time.Millisecond), kgo.MaxBufferedRecords(50_000))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	var keys [8][]byte
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key%d", i)
	}
	for b.Loop() {
		for i, v := range values {
			cl.Produce(context.Background(), &kgo.Record{
				Topic: "logs", Key: keys[i/400%8], Value: v,
				Headers: []kgo.RecordHeader{{Key: positionHeader, Value: fmt.Appendf(nil, "0123456789abcdef:%d", i)}},
			}, func(_ *kgo.Record, err error) {
				if err != nil {
					b.Error(err)
				}
			})
		}
		if err := cl.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
