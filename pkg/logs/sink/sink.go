// Package sink is where records go: the contract between the reader of log
// files and what delivers records, and the deliverers that need no network.
package sink

import (
	"context"
	"strconv"
)

// A Chunk is records of one log file that go to one destination, in the order
// of the file. The reader fills it; from Send until Done it is the sink's.
type Chunk struct {
	Topic string
	Key   []byte
	// File is the file's id: with a record's offset it tells duplicates.
	File string
	// Buf holds the records' values one behind the other.
	Buf     []byte
	Records []Record
	// Done is called exactly once, from any goroutine and not for long, when
	// all records are delivered or in the dead-letter place.
	Done func(*Chunk)
}

// A Record is one value in a chunk's Buf.
type Record struct {
	End    int   // where the value ends; it starts where the one before ends
	Offset int64 // of its line in the file
	Millis int64 // the line's time, milliseconds since 1970
}

// Value returns the value of record i.
func (c *Chunk) Value(i int) []byte {
	start := 0
	if i > 0 {
		start = c.Records[i-1].End
	}
	return c.Buf[start:c.Records[i].End]
}

// AppendPosition appends "file:offset" of record i, which names the record
// for ever: a record delivered twice has it twice.
func (c *Chunk) AppendPosition(dst []byte, i int) []byte {
	dst = append(dst, c.File...)
	dst = append(dst, ':')
	return strconv.AppendInt(dst, c.Records[i].Offset, 10)
}

// A Sink delivers chunks, at least once, and those of one key in order.
type Sink interface {
	// Ready says whether there is room for a chunk of that topic and key now.
	// After a false one, Wake's channel becomes readable when it is worth
	// asking again.
	Ready(topic string, key []byte) bool
	// Send takes a chunk. It does not block.
	Send(*Chunk)
	// Wake is shared by all callers and holds at most one signal.
	Wake() <-chan struct{}
	// Run delivers until ctx is done, and then what it was given until drain
	// is done. It returns an error only if it can never deliver.
	Run(ctx, drain context.Context) error
	// Stats returns counters since the start.
	Stats() Stats
}

// Reasons under which refused records are counted.
const (
	DeadTooLarge = "too-large"
	DeadNoTopic  = "no-topic"
	DeadRefused  = "refused" // any other
)

// DeadReasons returns all of them.
func DeadReasons() []string { return []string{DeadTooLarge, DeadNoTopic, DeadRefused} }

// Stats are a sink's counters.
type Stats struct {
	Records, Bytes uint64 // delivered, bytes of values before compression
	WireBytes      uint64 // sent, after compression, repeated sending included
	Requests       uint64
	// Errors counts failed attempts by their kind, a short name.
	Errors map[string]uint64
	// DeadLetters counts refused records by the reason.
	DeadLetters map[string]uint64
	// Buffered are the bytes held in the sink.
	Buffered int64
	// LastError is the last failed attempt's message; empty after a success.
	LastError string
}
