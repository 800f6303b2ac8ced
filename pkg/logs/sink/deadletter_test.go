package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func chunk(values ...string) *Chunk {
	c := &Chunk{Topic: "t", Key: []byte("k"), File: "f"}
	for i, v := range values {
		c.Buf = append(c.Buf, v...)
		c.Records = append(c.Records, Record{End: len(c.Buf), Offset: int64(i)})
	}
	return c
}

func TestDeadLetterFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "dead")
	f := NewDeadLetterFile(path, 300)
	c := chunk("text", "\xff")
	now := time.Unix(0, 0)
	for i := range 2 {
		if err := f.Add([]DeadLetter{NewDeadLetter(now, "why", c, i)}); err != nil {
			t.Fatal(err)
		}
	}
	var got []DeadLetter
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		var d DeadLetter
		if err := json.Unmarshal(line, &d); err != nil {
			t.Fatal(err)
		}
		got = append(got, d)
	}
	if len(got) != 2 || got[0].Value != "text" || got[1].ValueBase64 != "/w==" || got[1].Position != "f:1" || got[0].Key != "k" || got[0].Reason != "why" {
		t.Errorf("letters %+v", got)
	}
	if err := f.Add([]DeadLetter{NewDeadLetter(now, "why", c, 0)}); err != nil { // passes the bound
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".1"); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Add([]DeadLetter{{}}); err == nil {
		t.Error("a directory in the file's place: no error")
	}
}

// A writer that fails is tried again; nothing is acknowledged before.
func TestWriterRetries(t *testing.T) {
	out := &failing{times: 1}
	w := NewWriter(out)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, context.Background()) }()
	acked := make(chan struct{})
	c := chunk("a", "b")
	c.Done = func(*Chunk) {
		if out.String() != "a\nb\n" {
			t.Errorf("acknowledged after %q", out.String())
		}
		close(acked)
	}
	w.Send(c)
	<-acked
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := w.Stats(); s.Records != 2 || s.Errors["write"] != 1 || s.Buffered != 0 || s.LastError != "" {
		t.Errorf("stats %+v", s)
	}
}

type failing struct {
	bytes.Buffer
	times int
}

func (f *failing) Write(p []byte) (int, error) {
	if f.times > 0 {
		f.times--
		return 0, errors.New("no space")
	}
	return f.Buffer.Write(p)
}
