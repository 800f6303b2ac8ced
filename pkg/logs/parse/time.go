package parse

import "time"

// prefixLen is the length of an RFC 3339 time up to its seconds.
const prefixLen = len("2006-01-02T15:04:05")

// A TimeCache remembers the last second it parsed: a log's lines share it
// with the lines before. Its zero value is ready. It is for one goroutine.
type TimeCache struct {
	prefix [prefixLen]byte
	sec    int64 // of prefix, read as UTC
	set    bool
}

// Parse reads an RFC 3339 time with a fraction of any length (digits past the
// nanosecond are cut) and returns it in nanoseconds since 1970 UTC. Years that
// do not fit (before 1678, after 2261) are refused.
func (c *TimeCache) Parse(b []byte) (ns int64, ok bool) {
	if len(b) < prefixLen+1 {
		return 0, false
	}
	if !c.set || string(b[:prefixLen]) != string(c.prefix[:]) {
		t, err := time.Parse("2006-01-02T15:04:05", string(b[:prefixLen]))
		// time.Parse accepts a fraction that the layout does not name, and
		// one-digit hours: neither fits in prefixLen bytes.
		if err != nil || t.Year() < 1679 || t.Year() > 2261 {
			return 0, false
		}
		copy(c.prefix[:], b)
		c.sec, c.set = t.Unix(), true
	}
	frac, n, ok := fraction(b[prefixLen:])
	if !ok {
		return 0, false
	}
	off, ok := zone(b[prefixLen+n:])
	if !ok {
		return 0, false
	}
	return (c.sec-off)*1e9 + frac, true
}

// fraction parses an optional ".digits" and returns its nanoseconds and length.
func fraction(b []byte) (ns int64, n int, ok bool) {
	if len(b) == 0 || b[0] != '.' {
		return 0, 0, true
	}
	scale := int64(1e9)
	for n = 1; n < len(b); n++ {
		d := b[n] - '0'
		if d > 9 {
			break
		}
		if scale > 1 {
			scale /= 10
			ns += int64(d) * scale
		}
	}
	return ns, n, n > 1
}

// zone parses "Z" or "±hh:mm" into seconds east of UTC.
func zone(b []byte) (seconds int64, ok bool) {
	if len(b) == 1 && (b[0] == 'Z' || b[0] == 'z') {
		return 0, true
	}
	if len(b) != 6 || b[3] != ':' || (b[0] != '+' && b[0] != '-') {
		return 0, false
	}
	for _, i := range [...]int{1, 2, 4, 5} {
		if b[i] < '0' || b[i] > '9' {
			return 0, false
		}
	}
	h, m := int64(b[1]-'0')*10+int64(b[2]-'0'), int64(b[4]-'0')*10+int64(b[5]-'0')
	if h > 23 || m > 59 {
		return 0, false
	}
	seconds = h*3600 + m*60
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}
