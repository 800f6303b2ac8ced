package kafka

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/truesize/truesize/pkg/logs/sink"
)

// lettersOf makes dead letters of the records of a span.
func lettersOf(now time.Time, reason string, s span) []sink.DeadLetter {
	var letters []sink.DeadLetter
	for i := s.from; i < s.to; i++ {
		letters = append(letters, sink.NewDeadLetter(now, reason, s.it.chunk, i))
	}
	return letters
}

// deadChunk makes a chunk for the topic of dead letters of the records of a
// span. Each keeps its record's position.
func deadChunk(topic string, now time.Time, reason string, s span, done func(*sink.Chunk)) *sink.Chunk {
	from := s.it.chunk
	c := &sink.Chunk{Topic: topic, Key: from.Key, File: from.File, Done: done}
	for i, letter := range lettersOf(now, reason, s) {
		value, err := json.Marshal(&letter)
		if err != nil {
			panic(err) // of strings and a time only
		}
		c.Buf = append(c.Buf, value...)
		c.Records = append(c.Records, sink.Record{End: len(c.Buf), Offset: from.Records[s.from+i].Offset, Millis: now.UnixMilli()})
	}
	return c
}

// deadReason is the label under which a refusal is counted: few values.
func deadReason(reason string) string {
	switch {
	case strings.Contains(reason, "MESSAGE_TOO_LARGE"), strings.Contains(reason, "RECORD_LIST_TOO_LARGE"):
		return sink.DeadTooLarge
	case strings.HasPrefix(reason, "topic "):
		return sink.DeadNoTopic
	}
	return sink.DeadRefused
}
