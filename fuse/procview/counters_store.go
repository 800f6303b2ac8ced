package procview

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// ErrCorrupt says that stored counters cannot be used: begin anew.
var ErrCorrupt = errors.New("stored counters are not usable")

// A stored copy is two slots that are written in turn. Each has a header
// (magic and version, sequence number), the counters as little-endian 64-bit
// words, and a CRC-32C over both. A writer that dies in the middle of a slot
// leaves the other one whole.
const (
	storeMagic = 0x31_54_43_54 // "TCT1"
	storeWords = 1 + 4 + columns + maxShares*(1+columns) + columns + 4
	slotSize   = 8 + 8 + 8*storeWords + 8
	crcOffset  = slotSize - 8
	// CountersSize is the size in bytes of stored counters.
	CountersSize = 2 * slotSize
)

// Marshal stores the counters in dst[:CountersSize], which holds an earlier
// copy or anything else. dst may be a file mapped shared: at any moment, also
// when the process is killed in Marshal, Unmarshal reads the last copy or the
// one before. It panics when dst is shorter.
func (c *Counters) Marshal(dst []byte) {
	dst = dst[:CountersSize]
	i, seq := newest(dst)
	slot := dst[(1-i)*slotSize:][:slotSize]
	w := wordWriter{b: slot}
	w.put(storeMagic)
	w.put(seq + 1)
	c.words(w.word)
	binary.LittleEndian.PutUint64(slot[crcOffset:], checksum(slot))
}

// Unmarshal reads counters that Marshal stored. The error is ErrCorrupt, and c
// unchanged, when neither slot is whole.
func (c *Counters) Unmarshal(src []byte) error {
	if len(src) < CountersSize {
		return ErrCorrupt
	}
	i, seq := newest(src[:CountersSize])
	if seq == 0 {
		return ErrCorrupt
	}
	w := wordReader{b: src[i*slotSize+16:]}
	c.words(w.word)
	return nil
}

// newest returns the slot with the last whole copy and its sequence number, 0
// when there is none.
func newest(b []byte) (slot int, seq uint64) {
	for i := range 2 {
		s := b[i*slotSize:][:slotSize]
		n := binary.LittleEndian.Uint64(s[8:])
		if binary.LittleEndian.Uint64(s) == storeMagic &&
			binary.LittleEndian.Uint64(s[crcOffset:]) == checksum(s) && n > seq {
			slot, seq = i, n
		}
	}
	return slot, seq
}

func checksum(slot []byte) uint64 {
	return uint64(crc32.Checksum(slot[:crcOffset], crc32.MakeTable(crc32.Castagnoli)))
}

// words calls f for each word of the stored form, in its order.
func (c *Counters) words(f func(*uint64)) {
	f(&c.at)
	for _, p := range [...]*uint64{&c.last.User, &c.last.System, &c.last.Nice, &c.last.Throttled} {
		f(p)
	}
	for i := range c.total {
		f(&c.total[i])
	}
	for i := range c.shares {
		f(&c.shares[i].n)
		for k := range c.shares[i].time {
			f(&c.shares[i].time[k])
		}
	}
	for i := range c.left {
		f(&c.left[i])
	}
	for _, p := range [...]*uint64{&c.debt, &c.owed, &c.forks, &c.pid} {
		f(p)
	}
}

type wordWriter struct {
	b   []byte
	off int
}

func (w *wordWriter) put(v uint64) {
	binary.LittleEndian.PutUint64(w.b[w.off:], v)
	w.off += 8
}

func (w *wordWriter) word(p *uint64) { w.put(*p) }

type wordReader struct {
	b   []byte
	off int
}

func (r *wordReader) word(p *uint64) {
	*p = binary.LittleEndian.Uint64(r.b[r.off:])
	r.off += 8
}
