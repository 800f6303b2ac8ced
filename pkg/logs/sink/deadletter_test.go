package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
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
	for range 2 { // the first passes the bound
		if err := f.Add([]DeadLetter{NewDeadLetter(now, "why", c, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path + ".1"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := f.Add([]DeadLetter{{}}); err == nil {
		t.Error("a directory in the file's place: no error")
	}
}

// A letter is on disk when Add returns, and so is the name of its file.
func TestDeadLetterIsSynced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "dead")
	f := NewDeadLetterFile(path, 1)
	var synced []string
	f.sync = func(file *os.File) error { synced = append(synced, file.Name()); return nil }
	add := func(want ...string) {
		t.Helper()
		synced = nil
		if err := f.Add([]DeadLetter{{}}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(synced, want) {
			t.Errorf("synced %q, want %q", synced, want)
		}
	}
	add(dir, path)
	add(dir, path) // the one before was renamed
	f.maxBytes = 1 << 20
	add(path)
}

// A line that was cut by a crash does not spoil the one after it.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dead")
	if err := os.WriteFile(path, []byte(`{"time":"2024`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := NewDeadLetterFile(path, 1<<20).Add([]DeadLetter{{Value: "whole"}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	var d DeadLetter
	if err := json.Unmarshal(lines[len(lines)-1], &d); err != nil || d.Value != "whole" {
		t.Errorf("%v: %q", err, data)
	}
}

// Where the file cannot be renamed it does not grow, however often a letter is
// tried again.
func TestDeadLetterCannotRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dead")
	if err := os.MkdirAll(path+".1/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	f := NewDeadLetterFile(path, 100)
	var size int64
	for i := range 5 {
		err := f.Add([]DeadLetter{{Value: "a letter that is longer than the bound"}})
		if (err == nil) != (i == 0) {
			t.Errorf("attempt %d: error %v", i, err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && st.Size() != size {
			t.Errorf("attempt %d: it has grown from %d to %d bytes", i, size, st.Size())
		}
		size = st.Size()
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

// Records do not go to a file that nobody can open any more.
func TestFileRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	w := NewFile(path, 1<<20)
	for _, text := range []string{"a\n", "b\n"} {
		if err := w.write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v: want %q", got, err, text)
		}
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
	w.file.Close()
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
