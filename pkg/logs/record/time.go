package record

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A clock writes times in one layout and zone, fast for times within a second.
type clock struct {
	unit   int64 // of unix times: nanoseconds in one; 0 is a layout
	zone   *time.Location
	before string // layout up to the fraction
	after  string // layout behind it
	digits int    // of the fraction, with its point; 0 is none
	trim   bool   // zeros at the fraction's end are cut
	point  byte

	sec         int64
	set         bool
	pre, after2 []byte // before and after as written for sec
}

// layouts are the names of common layouts.
var layouts = map[string]string{
	"":             "2006-01-02T15:04:05.000Z07:00",
	"rfc3339":      time.RFC3339,
	"rfc3339milli": "2006-01-02T15:04:05.000Z07:00",
	"rfc3339nano":  "2006-01-02T15:04:05.000000000Z07:00",
}

// newClock returns a clock for a layout (of package time, or a name) and a
// zone of the tz database ("" is UTC, "Local" the node's).
func newClock(layout, zone string) (*clock, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", zone, err)
	}
	c := &clock{zone: loc}
	switch layout {
	case "unix":
		c.unit = 1e9
		return c, nil
	case "unixMilli":
		c.unit = 1e6
		return c, nil
	case "unixMicro":
		c.unit = 1e3
		return c, nil
	case "unixNano":
		c.unit = 1
		return c, nil
	}
	if l, ok := layouts[layout]; ok {
		layout = l
	}
	if !strings.Contains(layout, "05") && !strings.Contains(layout, "2006") && !strings.Contains(layout, "15") {
		return nil, fmt.Errorf("time layout %q: want unix, unixMilli, unixMicro, unixNano, rfc3339, rfc3339milli, rfc3339nano or a layout of Go's package time", layout)
	}
	c.before, c.after = layout, ""
	if i := strings.Index(layout, "05"); i >= 0 && i+3 < len(layout) && (layout[i+2] == '.' || layout[i+2] == ',') {
		n := 0
		d := layout[i+3]
		for (d == '0' || d == '9') && i+3+n < len(layout) && layout[i+3+n] == d {
			n++
		}
		if n > 0 && n <= 9 {
			c.before, c.after = layout[:i+2], layout[i+3+n:]
			c.digits, c.point, c.trim = n, layout[i+2], d == '9'
		}
	}
	return c, nil
}

// quoted says whether a time is a string in JSON.
func (c *clock) quoted() bool { return c.unit == 0 }

func (c *clock) append(dst []byte, ns int64) []byte {
	if c.unit != 0 {
		return strconv.AppendInt(dst, ns/c.unit, 10)
	}
	sec, frac := ns/1e9, ns%1e9
	if frac < 0 {
		sec, frac = sec-1, frac+1e9
	}
	if !c.set || sec != c.sec {
		t := time.Unix(sec, 0).In(c.zone)
		c.pre = t.AppendFormat(c.pre[:0], c.before)
		c.after2 = t.AppendFormat(c.after2[:0], c.after)
		c.sec, c.set = sec, true
	}
	dst = append(dst, c.pre...)
	if c.digits > 0 {
		dst = c.fraction(dst, frac)
	}
	return append(dst, c.after2...)
}

func (c *clock) fraction(dst []byte, frac int64) []byte {
	var d [9]byte
	for i := 8; i >= 0; i-- {
		d[i] = byte('0' + frac%10)
		frac /= 10
	}
	n := c.digits
	for c.trim && n > 0 && d[n-1] == '0' {
		n--
	}
	if n == 0 {
		return dst
	}
	dst = append(dst, c.point)
	return append(dst, d[:n]...)
}
