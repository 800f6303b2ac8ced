// Package checkpoint keeps on disk how far the files of a node's logs have
// been read and acknowledged.
//
// The file is text, one entry a line, each line with its own checksum: a torn
// or flipped line costs that entry, not the others. A checkpoint is replaced
// whole (temporary file, fsync, rename, fsync of the directory), and the one
// before it is kept, so that there is always one to start from.
package checkpoint

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
)

// A File is the progress in one log file.
type File struct {
	// ID is the file's opaque id, made from its directory and its first line:
	// the same after rotation, compression and reboots.
	ID string `json:"id"`
	// Dir is the log directory, Name the file's last known name in it.
	Dir  string `json:"dir"`
	Name string `json:"name"`
	// Dev and Ino are where the file was last seen; 0 is nowhere.
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
	// Gen tells files of one directory apart that start with the same line.
	Gen int `json:"gen,omitempty"`
	// Safe is for each stream the offset before which all is acknowledged.
	// Of a compressed file it counts the bytes of the content.
	Safe [2]int64 `json:"safe"`
	// Tail is the CRC-32C of the 256 bytes (or as many as there are) before
	// offset TailAt, which is not behind Safe; TailAt 0 is not known.
	Tail   uint32 `json:"tail,omitempty"`
	TailAt int64  `json:"tailAt,omitempty"`
	// Size is the file's last known size.
	Size int64 `json:"size"`
	// Path is the name under which the file was first seen.
	Path string `json:"path,omitempty"`
}

// A Container is what was known of a container when its logs were read, for
// the logs that are still there when the runtime no longer knows it.
type Container struct {
	Dir  string          `json:"dir"`
	Meta json.RawMessage `json:"meta"`
}

// A State is all that a checkpoint holds.
type State struct {
	Files      []File
	Containers []Container
}

// header is the first line, with the format's version.
const header = "truesize-logs-checkpoint 1\n"

var (
	// ErrDamaged says that a checkpoint, or part of it, cannot be used.
	ErrDamaged = errors.New("checkpoint is damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// entry is the content of a line: one of its members.
type entry struct {
	File      *File      `json:"file,omitempty"`
	Container *Container `json:"container,omitempty"`
}

// Encode appends s as a checkpoint's content to dst.
func Encode(dst []byte, s *State) ([]byte, error) {
	dst = append(dst, header...)
	var err error
	for i := range s.Files {
		if dst, err = appendLine(dst, &entry{File: &s.Files[i]}); err != nil {
			return nil, err
		}
	}
	for i := range s.Containers {
		if dst, err = appendLine(dst, &entry{Container: &s.Containers[i]}); err != nil {
			return nil, err
		}
	}
	return fmt.Appendf(dst, "end %d\n", len(s.Files)+len(s.Containers)), nil
}

func appendLine(dst []byte, e *entry) ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint: %w", err)
	}
	var sum [4]byte
	crc := crc32.Checksum(data, castagnoli)
	sum[0], sum[1], sum[2], sum[3] = byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc)
	dst = hex.AppendEncode(dst, sum[:])
	dst = append(dst, ' ')
	dst = append(dst, data...)
	return append(dst, '\n'), nil
}

// Decode reads a checkpoint's content. With damage it returns what could be
// read, and an error that wraps [ErrDamaged].
func Decode(data []byte) (*State, error) {
	s := new(State)
	rest, ok := bytes.CutPrefix(data, []byte(header))
	if !ok {
		first, _, _ := bytes.Cut(data, []byte("\n"))
		return s, fmt.Errorf("%w: its first line is %.64q, want %q", ErrDamaged, first, header)
	}
	bad, lines, ended := 0, 0, false
	whole := bytes.HasSuffix(rest, []byte("\n"))
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if n, ok := bytes.CutPrefix(line, []byte("end ")); ok {
			want, err := strconv.Atoi(string(n))
			ended = err == nil && want == lines && len(rest) == 0
			continue
		}
		lines++
		if err := s.line(line); err != nil {
			bad++
		}
	}
	if ended = ended && whole; bad > 0 || !ended {
		return s, fmt.Errorf("%w: %d of %d entries cannot be read, complete to its end: %t", ErrDamaged, bad, lines, ended)
	}
	return s, nil
}

func (s *State) line(line []byte) error {
	var sum [4]byte
	if len(line) < 9 || line[8] != ' ' {
		return ErrDamaged
	}
	if _, err := hex.Decode(sum[:], line[:8]); err != nil {
		return ErrDamaged
	}
	data := line[9:]
	if crc32.Checksum(data, castagnoli) != uint32(sum[0])<<24|uint32(sum[1])<<16|uint32(sum[2])<<8|uint32(sum[3]) {
		return ErrDamaged
	}
	var e entry
	if err := json.Unmarshal(data, &e); err != nil {
		return ErrDamaged
	}
	if f := e.File; f != nil {
		if f.ID == "" || f.Dir == "" || f.Safe[0] < 0 || f.Safe[1] < 0 || f.Size < 0 || f.TailAt < 0 {
			return ErrDamaged
		}
		s.Files = append(s.Files, *f)
	}
	if e.Container != nil {
		s.Containers = append(s.Containers, *e.Container)
	}
	return nil
}
