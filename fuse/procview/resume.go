package procview

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"strconv"
	"time"
)

// What a server showed last is read back by its successor, so that uptime does
// not run backwards. ok is false for anything else than such a file.

// ParseUptime returns the uptime that a /proc/uptime shows.
func ParseUptime(data []byte) (up time.Duration, ok bool) {
	f := bytes.Fields(data)
	if len(f) != 2 {
		return 0, false
	}
	seconds, ok := parseShown(f[0], 1e9) // 30 years
	return time.Duration(seconds * float64(time.Second)), ok
}

// LoadSize is the size in bytes of a stored load: the three averages, when they
// were of, and a CRC-32C over both. A writer that dies while it writes leaves what
// is not a stored load.
const LoadSize = 8 * 5

// Marshal stores the load in dst[:LoadSize], as of now since boot, so that a
// successor's does not begin at zero. It panics when dst is shorter.
func (l Load) Marshal(dst []byte, now time.Duration) {
	le, dst := binary.LittleEndian, dst[:LoadSize]
	for i, avg := range l.avg {
		le.PutUint64(dst[8*i:], math.Float64bits(avg))
	}
	le.PutUint64(dst[24:], uint64(now))
	le.PutUint64(dst[32:], loadChecksum(dst))
}

// UnmarshalLoad reads a load that Marshal stored. ok is false when there is none.
func UnmarshalLoad(src []byte) (l Load, at time.Duration, ok bool) {
	le := binary.LittleEndian
	if len(src) < LoadSize || le.Uint64(src[32:]) != loadChecksum(src) {
		return Load{}, 0, false
	}
	for i := range l.avg {
		l.avg[i] = math.Float64frombits(le.Uint64(src[8*i:]))
		if !(l.avg[i] >= 0 && l.avg[i] <= 1<<22) { // the threads that a kernel can have
			return Load{}, 0, false
		}
	}
	return l, time.Duration(le.Uint64(src[24:])), true
}

// loadChecksum is never that of zeros.
func loadChecksum(b []byte) uint64 {
	return 1 + uint64(crc32.Checksum(b[:32], crc32.MakeTable(crc32.Castagnoli)))
}

func parseShown(field []byte, most float64) (v float64, ok bool) {
	v, err := strconv.ParseFloat(string(field), 64)
	return v, err == nil && v >= 0 && v <= most
}
