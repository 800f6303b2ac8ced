package logs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/truesize/truesize/pkg/logs/parse"
	"github.com/truesize/truesize/pkg/logs/source"
)

// headMax is how much of a file's start tells it from others: its first line,
// at most this many bytes. A runtime's first line starts with a time in
// nanoseconds.
const headMax = 256

// lineFormat is the format of a file's lines.
type lineFormat uint8

const (
	formatCRI lineFormat = iota
	formatDocker
	formatText
)

// A file is a log file, under whatever name or in whatever form.
type file struct {
	num   uint64 // ours, for as long as the process runs
	id    string // opaque; "" until there is a first line
	gen   int
	head  []byte
	chain *chain
	as    source.Name // what its name says, or said
	name  string
	// present says that the file has a name in its directory. Without it is
	// open, or done.
	present   bool
	listing   uint64 // of its directory, in which it was found first
	inode     inode
	src       content // nil when closed
	gzip      bool
	format    lineFormat
	firstSeen string // its path, relative to the root
	shadowOf  *file  // the file that this is a copy of, while both are there

	read     int64 // all before is read and parsed
	size     int64 // last known
	resumed  bool  // lines before skip were acknowledged by an earlier process
	skip     [parse.Streams]int64
	safe     [parse.Streams]int64 // all before is acknowledged
	markedTo [parse.Streams]int64 // what the marks on their way will make of safe
	tail     uint32               // see noteTail
	tailAt   int64
	midStart int64 // start of the line whose middle is at read; -1
	midLine  parse.Line

	atEnd      bool // the last read came to the end
	final      bool // all of it is read and no more is expected
	deletedAt  time.Time
	lastGrowth time.Time
	nextAt     time.Time // when the next file had data; see leftBehind
}

// fileID makes the opaque id. It is the same for a file before and after a
// rotation, and in a process after a crash, so that what is sent twice shows.
func fileID(dir string, head []byte, gen int) string {
	h := sha256.New()
	h.Write([]byte(dir))
	h.Write([]byte{0})
	h.Write([]byte(strconv.Itoa(gen)))
	h.Write([]byte{0})
	h.Write(head)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// readHead returns what identifies a content: its first line, at most headMax
// bytes. It is whole when it ends with a newline or is that long.
func readHead(c content) (head []byte, whole bool, err error) {
	buf := make([]byte, headMax)
	n, err := c.ReadAt(buf, 0)
	if n == 0 {
		return nil, false, err
	}
	if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
		return buf[:i+1], true, nil
	}
	return buf[:n], n == headMax, nil
}

// detect finds the format of lines from a file's start.
func detect(kind source.Kind, head []byte) lineFormat {
	if bytes.HasPrefix(bytes.TrimLeft(head, "\x00"), []byte(`{"log":`)) {
		return formatDocker
	}
	switch kind {
	case source.Pods:
		return formatCRI
	case source.Docker:
		return formatDocker
	}
	var c parse.TimeCache
	if _, err := parse.CRI(bytes.TrimSuffix(head, []byte("\n")), &c); err == nil {
		return formatCRI
	}
	return formatText
}

// dated says whether what a file starts with has a time in it: then hardly
// another one starts alike. Docker writes it at the end of the line.
func (l lineFormat) dated(head []byte) bool {
	return l == formatCRI || l == formatDocker && bytes.HasSuffix(head, []byte("\n"))
}

// acked says whether all that was read is acknowledged.
func (f *file) acked() bool {
	for s := range parse.Streams {
		if f.safe[s] < f.read {
			return false
		}
	}
	return true
}

// done says that the file needs no more work.
func (f *file) done() bool { return f.final && f.acked() }

// marked returns what the marks made so far make of safe.
func (f *file) marked(s parse.Stream) int64 { return max(f.safe[s], f.markedTo[s]) }

// osFile returns the open file, nil when it is closed.
func (f *file) osFile() *os.File {
	if f.src == nil {
		return nil
	}
	return f.src.file()
}

func (f *file) close() {
	if f.src != nil {
		f.src.Close()
		f.src = nil
	}
}

// onDisk returns the size of the open file as it is, compressed or not.
func (f *file) onDisk() int64 {
	st, err := f.osFile().Stat()
	if err != nil {
		return 0
	}
	if !f.gzip {
		f.size = max(f.size, st.Size())
	}
	return st.Size()
}

// lag is how many known bytes are not acknowledged.
func (f *file) lag() int64 {
	low := min(f.safe[0], f.safe[1])
	if f.gzip && f.size == 0 {
		return max(f.read-low, 0)
	}
	return max(max(f.size, f.read)-low, 0)
}

// sameStart says whether two open files hold the same for as long as both are,
// up to 64 KiB.
func sameStart(a, b content) bool {
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	n, err := a.ReadAt(x, 0)
	m, err2 := b.ReadAt(y, 0)
	if err != nil || err2 != nil {
		return false
	}
	n = min(n, m)
	return bytes.Equal(x[:n], y[:n])
}

// cleanID says whether an id from a checkpoint can be one of ours.
func cleanID(id string) bool {
	return len(id) == 16 && strings.Trim(id, "0123456789abcdef") == ""
}
