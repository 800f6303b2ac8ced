package kafka

import (
	"encoding/json"
	"strings"

	"github.com/truesize/truesize/pkg/logs/sink"
)

// deadChunk makes a chunk of dead letters for their topic.
func deadChunk(topic string, letters []sink.DeadLetter, done func(*sink.Chunk)) *sink.Chunk {
	file, _, _ := strings.Cut(letters[0].Position, ":")
	c := &sink.Chunk{Topic: topic, Key: []byte(letters[0].Key), File: file, Done: done}
	for i := range letters {
		value, err := json.Marshal(&letters[i])
		if err != nil {
			panic(err) // of strings and a time only
		}
		c.Buf = append(c.Buf, value...)
		c.Records = append(c.Records, sink.Record{End: len(c.Buf), Millis: letters[i].Time.UnixMilli()})
	}
	return c
}

// deadReason is the label under which a refusal is counted: few values.
func deadReason(reason string) string {
	switch {
	case strings.Contains(reason, "MESSAGE_TOO_LARGE"), strings.Contains(reason, "RECORD_LIST_TOO_LARGE"):
		return "too-large"
	case strings.HasPrefix(reason, "topic "):
		return "no-topic"
	}
	return "refused"
}
