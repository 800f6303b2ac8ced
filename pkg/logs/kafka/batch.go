package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"

	"github.com/truesize/truesize/pkg/logs/sink"
)

// batchHeader is the length of a record batch before its records, and the
// places of the fields that are filled in last (Kafka protocol, RecordBatch,
// magic 2).
const (
	batchHeader  = 61
	atLength     = 8
	atEpoch      = 12
	atMagic      = 16
	atCRC        = 17
	atAttributes = 21
	atLastDelta  = 23
	atFirstTime  = 27
	atMaxTime    = 35
	atProducer   = 43
	atSequence   = 53
	atCount      = 57
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A span is records [from, to) of a chunk that was given to the producer.
type span struct {
	it       *item
	from, to int
}

// An encoder writes record batches. It is for one goroutine.
type encoder struct {
	plain  []byte // records before compression
	pos    []byte
	comp   compressor
	static []byte // the encoded headers of every record, without the last
	count  int    // headers of a record
}

// positionHeader is the header that names a record for ever; see
// sink.Chunk.AppendPosition.
const positionHeader = "truesize-position"

// newEncoder returns an encoder that adds headers, in order of their names, to
// every record, and the position as the last one.
func newEncoder(comp compressor, headers []header) *encoder {
	e := &encoder{comp: comp, count: len(headers) + 1}
	for _, h := range headers {
		e.static = appendBytes(appendBytes(e.static, h.key), h.value)
	}
	e.static = appendBytes(e.static, positionHeader)
	return e
}

type header struct{ key, value string }

// encode appends a batch with the records of spans to dst, complete but for
// its producer and checksum: see stamp.
func (e *encoder) encode(dst []byte, spans []span) ([]byte, error) {
	first, last := e.records(spans)
	start := len(dst)
	dst = append(dst, make([]byte, batchHeader)...)
	var (
		err  error
		code uint16
	)
	if dst, code, err = e.comp.compress(dst, e.plain); err != nil {
		return nil, err
	}
	n := 0
	for _, s := range spans {
		n += s.to - s.from
	}
	b := dst[start:]
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-atEpoch))
	binary.BigEndian.PutUint32(b[atEpoch:], ^uint32(0)) // unknown: the broker fills it in
	b[atMagic] = 2
	binary.BigEndian.PutUint16(b[atAttributes:], code)
	binary.BigEndian.PutUint32(b[atLastDelta:], uint32(n-1))
	binary.BigEndian.PutUint64(b[atFirstTime:], uint64(first))
	binary.BigEndian.PutUint64(b[atMaxTime:], uint64(last))
	binary.BigEndian.PutUint32(b[atCount:], uint32(n))
	return dst, nil
}

// stamp writes the producer's id, epoch and sequence into a batch, and its
// checksum.
func stamp(b []byte, id int64, epoch int16, sequence int32) {
	binary.BigEndian.PutUint64(b[atProducer:], uint64(id))
	binary.BigEndian.PutUint16(b[atProducer+8:], uint16(epoch))
	binary.BigEndian.PutUint32(b[atSequence:], uint32(sequence))
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], castagnoli))
}

// records fills e.plain and returns the first record's time and the latest, in
// milliseconds.
func (e *encoder) records(spans []span) (first, latest int64) {
	e.plain = e.plain[:0]
	delta := 0
	for _, s := range spans {
		c := s.it.chunk
		begin := 0
		if s.from > 0 {
			begin = c.Records[s.from-1].End
		}
		for i := s.from; i < s.to; i++ {
			r := &c.Records[i]
			if delta == 0 {
				first, latest = r.Millis, r.Millis
			}
			latest = max(latest, r.Millis)
			e.pos = c.AppendPosition(e.pos[:0], i)
			e.record(c.Key, c.Buf[begin:r.End], r.Millis-first, delta)
			begin = r.End
			delta++
		}
	}
	return first, latest
}

// record appends one record to e.plain.
func (e *encoder) record(key, value []byte, millis int64, delta int) {
	size := 1 + varintLen(millis) + varintLen(int64(delta)) +
		varintLen(int64(len(key))) + len(key) + varintLen(int64(len(value))) + len(value) +
		varintLen(int64(e.count)) + len(e.static) + varintLen(int64(len(e.pos))) + len(e.pos)
	b := appendVarint(e.plain, int64(size))
	b = append(b, 0) // attributes: none are defined
	b = appendVarint(b, millis)
	b = appendVarint(b, int64(delta))
	b = append(appendVarint(b, int64(len(key))), key...)
	b = append(appendVarint(b, int64(len(value))), value...)
	b = appendVarint(b, int64(e.count))
	b = append(b, e.static...)
	e.plain = append(appendVarint(b, int64(len(e.pos))), e.pos...)
}

// recordOverhead bounds what a record takes in a batch beside its key, value
// and headers: lengths, deltas and attributes.
const recordOverhead = 40

// spanBytes bounds the bytes of a record of c in a batch.
func (e *encoder) recordBytes(c *sink.Chunk, i int) int {
	return len(c.Value(i)) + len(c.Key) + len(e.static) + len(c.File) + 20 + recordOverhead
}

func appendBytes(dst []byte, s string) []byte {
	return append(appendVarint(dst, int64(len(s))), s...)
}

// appendVarint appends Kafka's zig-zag varint.
func appendVarint(dst []byte, v int64) []byte {
	return binary.AppendVarint(dst, v)
}

func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}
