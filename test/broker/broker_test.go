package broker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestPrint checks that what was there before and what comes later is printed,
// of any topic, and no more than was asked for.
func TestPrint(t *testing.T) {
	b, err := Start("logs")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	producer, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	produce := func(topic, value string) {
		t.Helper()
		r := &kgo.Record{Topic: topic, Key: []byte("key"), Value: []byte(value)}
		if err := producer.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	produce("logs", "first")
	var out strings.Builder
	if err := b.Print(ctx, &out, 1); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "logs/") || !strings.HasSuffix(got, "@0 key first\n") {
		t.Errorf("got %q", got)
	}
	out.Reset()
	produce("other", "second")
	if err := b.Print(ctx, &out, 1); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "other/") || !strings.HasSuffix(got, "@0 key second\n") {
		t.Errorf("got %q", got)
	}
	ended, end := context.WithCancel(ctx)
	end()
	if err := b.Print(ended, &out, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
