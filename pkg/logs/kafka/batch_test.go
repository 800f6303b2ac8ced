package kafka

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/truesize/truesize/pkg/logs/sink"
)

func decompress(t *testing.T, codec int16, b []byte) []byte {
	t.Helper()
	var (
		out []byte
		err error
	)
	switch codec {
	case codecNone:
		return b
	case codecSnappy:
		out, err = s2.Decode(nil, b)
	case codecLZ4:
		out, err = io.ReadAll(lz4.NewReader(bytes.NewReader(b)))
	case codecZstd:
		var d *zstd.Decoder
		if d, err = zstd.NewReader(nil); err == nil {
			out, err = d.DecodeAll(b, nil)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A batch reads back, by an independent decoder, as what went in.
func TestEncode(t *testing.T) {
	c := &sink.Chunk{Key: []byte("k"), File: "00ff00ff00ff00ff"}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		c.Buf = append(c.Buf, bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(300))...)
		c.Records = append(c.Records, sink.Record{End: len(c.Buf), Offset: int64(i * 1000), Millis: 1700000000000 + int64(r.IntN(1000)) - 500})
	}
	it := &item{chunk: c}
	spans := []span{{it, 3, 100}, {it, 100, 101}, {it, 200, 300}}
	for _, name := range []string{"none", "snappy", "lz4", "zstd"} {
		t.Run(name, func(t *testing.T) {
			comp, err := newCompressor(name)
			if err != nil {
				t.Fatal(err)
			}
			e := newEncoder(comp, []header{{"cluster", "c1"}})
			data, err := e.encode([]byte("before"), spans)
			if err != nil {
				t.Fatal(err)
			}
			data = data[len("before"):]
			stamp(data, 7, 3, 11)
			var b kmsg.RecordBatch
			if err := b.ReadFrom(data); err != nil {
				t.Fatal(err)
			}
			if int(b.Length) != len(data)-12 || b.Magic != 2 || b.NumRecords != 198 || b.LastOffsetDelta != 197 ||
				b.ProducerID != 7 || b.ProducerEpoch != 3 || b.FirstSequence != 11 ||
				b.CRC != int32(crc32.Checksum(data[21:], castagnoli)) {
				t.Fatalf("batch %+v", b)
			}
			plain := decompress(t, b.Attributes&7, b.Records)
			n, latest := 0, int64(0)
			for _, s := range spans {
				for i := s.from; i < s.to; i++ {
					var rec kmsg.Record
					if err := rec.ReadFrom(plain); err != nil {
						t.Fatalf("record %d: %v", i, err)
					}
					plain = plain[int(rec.Length)+varintLen(int64(rec.Length)):]
					millis := b.FirstTimestamp + rec.TimestampDelta64
					latest = max(latest, millis)
					if int(rec.OffsetDelta) != n || string(rec.Key) != "k" || !bytes.Equal(rec.Value, c.Value(i)) || millis != c.Records[i].Millis {
						t.Fatalf("record %d: %+v", i, rec)
					}
					if len(rec.Headers) != 2 || string(rec.Headers[0].Value) != "c1" || rec.Headers[1].Key != positionHeader ||
						string(rec.Headers[1].Value) != fmt.Sprintf("00ff00ff00ff00ff:%d", i*1000) {
						t.Fatalf("headers %+v", rec.Headers)
					}
					n++
				}
			}
			if len(plain) != 0 || b.MaxTimestamp != latest {
				t.Errorf("%d bytes behind the records; latest %d, want %d", len(plain), b.MaxTimestamp, latest)
			}
		})
	}
}

func TestIncompressible(t *testing.T) {
	src := make([]byte, lz4BlockMax+5000)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range src {
		src[i] = byte(r.Uint32())
	}
	for _, name := range []string{"none", "snappy", "lz4", "zstd"} {
		comp, _ := newCompressor(name)
		out, code, err := comp.compress([]byte("x"), src)
		if err != nil {
			t.Fatal(err)
		}
		if got := decompress(t, int16(code), out[1:]); !bytes.Equal(got, src) {
			t.Errorf("%s: changed", name)
		}
	}
	if _, err := newCompressor("rar"); err == nil {
		t.Error("rar: no error")
	}
}

// Keys go where Kafka's own clients put them.
func TestPartitionFor(t *testing.T) {
	p := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	for i := range 500 {
		key := bytes.Repeat([]byte{byte(i * 7)}, i%13+1)
		if got, want := partitionFor(key, 12), p.Partition(&kgo.Record{Key: key}, 12); got != want {
			t.Fatalf("key %x: partition %d, want %d", key, got, want)
		}
	}
}

func TestFillAndSplit(t *testing.T) {
	comp, _ := newCompressor("none")
	e := newEncoder(comp, nil)
	c := &sink.Chunk{}
	for i := range 10 {
		c.Buf = append(c.Buf, make([]byte, 1000)...)
		c.Records = append(c.Records, sink.Record{End: len(c.Buf), Offset: int64(i)})
	}
	p := &partition{queue: []span{{&item{chunk: c}, 0, 3}, {&item{chunk: c}, 3, 10}}}
	var got []int64
	for len(p.queue) > 0 {
		p.wires = nil
		p.fill(e, 3500)
		if n := p.wires[0].count; n != 3 && len(p.queue) > 0 {
			t.Fatalf("%d records in a batch, want 3", n)
		}
		for len(p.wires) > 0 {
			if p.wires[0].count > 1 {
				p.split()
				continue
			}
			s := p.wires[0].spans[0]
			got = append(got, s.it.chunk.Records[s.from].Offset)
			p.wires = p.wires[1:]
		}
	}
	if fmt.Sprint(got) != "[0 1 2 3 4 5 6 7 8 9]" {
		t.Errorf("records %v", got)
	}
	p.queue = []span{{&item{chunk: c}, 0, 1}}
	p.wires = nil
	p.fill(e, 10) // a record over the bound still goes, alone
	if p.wires[0].count != 1 {
		t.Errorf("%d records", p.wires[0].count)
	}
}
