package logs

import (
	"hash/crc32"

	"github.com/truesize/truesize/pkg/logs/checkpoint"
)

// noteTail notes what is before the place to which a file is acknowledged.
// With its first line that tells it, after a restart, from one that starts
// alike: a banner, or a long line of a runtime that writes its time at the end.
func (f *file) noteTail() {
	at := min(f.safe[0], f.safe[1])
	if at == f.tailAt || f.src == nil || f.gzip {
		return
	}
	if sum, ok := tailSum(f.src, at); ok {
		f.tail, f.tailAt = sum, at
	}
}

// tailSum returns the CRC-32C of the headMax bytes before at, of fewer where
// there are no more. It says false when the content does not go that far.
func tailSum(c content, at int64) (uint32, bool) {
	var b [headMax]byte
	n := min(at, headMax)
	got, _ := c.ReadAt(b[:n], at-n)
	return crc32.Checksum(b[:n], crc32.MakeTable(crc32.Castagnoli)), int64(got) == n
}

// hasTail says whether f holds what a checkpoint's entry says of the content
// before what was acknowledged. With dated, of a compressed one, its size says
// enough.
func (f *file) hasTail(e checkpoint.File, dated bool) bool {
	if e.TailAt == 0 || dated && f.gzip && f.wholeOf(e) {
		return true // nothing is known, or decompressing all of it says little more
	}
	sum, ok := tailSum(f.src, e.TailAt)
	return ok && sum == e.Tail
}

// wholeOf says whether a compressed file is as large as what was read.
func (f *file) wholeOf(e checkpoint.File) bool {
	n, err := gzipSize(f.osFile())
	return err == nil && e.Safe[0] > 0 && e.Safe[0] == e.Safe[1] && uint32(e.Safe[0]) == n
}
