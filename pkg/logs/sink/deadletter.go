package sink

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unicode/utf8"
)

// A DeadLetter is a record that its destination refused for good.
type DeadLetter struct {
	Time     time.Time `json:"time"`
	Reason   string    `json:"reason"`
	Topic    string    `json:"topic"`
	Key      string    `json:"key"`
	Position string    `json:"position"` // see Chunk.AppendPosition
	// Value is the record; ValueBase64 where it is not UTF-8.
	Value       string `json:"value,omitempty"`
	ValueBase64 string `json:"valueBase64,omitempty"`
}

// NewDeadLetter makes a dead letter of record i of c.
func NewDeadLetter(now time.Time, reason string, c *Chunk, i int) DeadLetter {
	d := DeadLetter{Time: now.UTC(), Reason: reason, Topic: c.Topic, Key: string(c.Key), Position: string(c.AppendPosition(nil, i))}
	if v := c.Value(i); utf8.Valid(v) {
		d.Value = string(v)
	} else {
		d.ValueBase64 = base64.StdEncoding.EncodeToString(v)
	}
	return d
}

// A DeadLetterFile keeps dead letters, one JSON object a line. At maxBytes it
// is renamed with ".1" behind its name, which replaces the one before.
type DeadLetterFile struct {
	path     string
	maxBytes int64
	sync     func(*os.File) error // (*os.File).Sync; tests look on
	mu       sync.Mutex
}

// NewDeadLetterFile returns the file at path, which is made when first needed.
func NewDeadLetterFile(path string, maxBytes int64) *DeadLetterFile {
	return &DeadLetterFile{path: path, maxBytes: maxBytes, sync: (*os.File).Sync}
}

// Add writes letters durably.
func (f *DeadLetterFile) Add(letters []DeadLetter) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var data []byte
	for i := range letters {
		line, err := json.Marshal(&letters[i])
		if err != nil {
			return fmt.Errorf("encode dead letter: %w", err)
		}
		data = append(append(data, line...), '\n')
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write dead letters: %w", err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	out, err := f.open()
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	st, err := out.Stat()
	if err != nil {
		return err
	}
	if _, err := out.Write(data); err != nil {
		// What was written of it goes away again: a line is whole or absent.
		_ = out.Truncate(st.Size())
		return err
	}
	return f.sync(out)
}

// open opens the file, or a new one when it has reached its bound. Renaming
// comes before writing: where it fails nothing is written twice.
func (f *DeadLetterFile) open() (*os.File, error) {
	if st, err := os.Lstat(f.path); err == nil && st.Mode().IsRegular() && st.Size() >= f.maxBytes {
		if err := os.Rename(f.path, f.path+".1"); err != nil {
			return nil, err
		}
	}
	return openLines(f.path, f.sync)
}
