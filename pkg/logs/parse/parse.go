// Package parse reads the two line formats in which container runtimes write
// a container's output: the CRI's, and Docker's json-file.
//
// The parsers are pure functions over one line without its newline. They
// allocate nothing for a CRI line: what they return points into the line.
//
// CRI format (k8s.io/design-proposals-archive, kubelet-cri-logging): RFC 3339
// time with nanoseconds of any length, stream, tags separated by ':' of which
// the first is P (partial) or F (full), content, each separated by one space.
package parse

import "errors"

// A Stream is one of a container's two outputs. Text that belongs to no
// stream, such as a plain file's, counts as Stdout.
type Stream uint8

// The streams. Streams is their number.
const (
	Stdout Stream = iota
	Stderr
	Streams
)

// String returns "stdout" or "stderr".
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// A Line is one parsed line.
type Line struct {
	// Time is in nanoseconds since 1970 UTC.
	Time   int64
	Stream Stream
	// Partial says that the next line of this stream continues this one.
	Partial bool
	// Text is the content, without the newline the container wrote.
	Text []byte
}

// ErrFormat says that a line is not in the expected format.
var ErrFormat = errors.New("not in the log format")

// CRI parses a line of a CRI log file. The cache speeds up times and may be
// shared by all lines that one goroutine parses. Leading NUL bytes, which a
// writer leaves behind when its file is truncated under it, are passed over.
func CRI(line []byte, times *TimeCache) (Line, error) {
	for len(line) > 0 && line[0] == 0 {
		line = line[1:]
	}
	sp := timeEnd(line)
	if sp < 0 || len(line) < sp+len(" stdout F") {
		return Line{}, ErrFormat
	}
	ns, ok := times.Parse(line[:sp])
	if !ok {
		return Line{}, ErrFormat
	}
	l := Line{Time: ns}
	switch string(line[sp+1 : sp+8]) {
	case "stdout ":
	case "stderr ":
		l.Stream = Stderr
	default:
		return Line{}, ErrFormat
	}
	rest := line[sp+8:]
	switch rest[0] {
	case 'F':
	case 'P':
		l.Partial = true
	default:
		return Line{}, ErrFormat
	}
	// Usually the tag is the one letter; other tags may follow after a colon.
	i := 1
	if i < len(rest) && rest[i] == ':' {
		for i < len(rest) && rest[i] != ' ' {
			i++
		}
	}
	switch {
	case i == len(rest): // content empty, and its space trimmed by someone
		return l, nil
	case rest[i] != ' ':
		return Line{}, ErrFormat
	}
	l.Text = rest[i+1:]
	return l, nil
}

// timeEnd returns the index of the space after the time, -1 without one where
// a time can end.
func timeEnd(line []byte) int {
	const shortest, longest = len("2006-01-02T15:04:05Z"), len("2006-01-02T15:04:05.000000000000+00:00")
	for i := shortest; i <= longest && i < len(line); i++ {
		if line[i] == ' ' {
			return i
		}
	}
	return -1
}
