// Package quantity has the types of the log configuration that people write
// with a unit: durations ("200ms") and numbers of bytes ("64MiB").
package quantity

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Duration is a time.Duration, written as Go writes it: "200ms", "1h30m".
type Duration time.Duration

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads a duration that is not negative.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration %s: want a text such as \"200ms\" or \"1h\"", b)
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("duration %q: want a text such as \"200ms\" or \"1h\"", s)
	}
	*d = Duration(v)
	return nil
}

// Or returns d, or other when d is 0.
func (d Duration) Or(other time.Duration) time.Duration {
	if d == 0 {
		return other
	}
	return time.Duration(d)
}

// Bytes is a number of bytes, written as a number or with a unit: "64MiB",
// "1GB", "512KiB".
type Bytes int64

// MarshalJSON writes the number.
func (n Bytes) MarshalJSON() ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }

// UnmarshalJSON reads a number of bytes that is not negative.
func (n *Bytes) UnmarshalJSON(b []byte) error {
	s := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	v, err := ParseBytes(s)
	if err != nil {
		return err
	}
	*n = Bytes(v)
	return nil
}

// Or returns n, or other when n is 0.
func (n Bytes) Or(other int64) int64 {
	if n == 0 {
		return other
	}
	return int64(n)
}

// ParseBytes reads a number of bytes with an optional unit.
func ParseBytes(s string) (int64, error) {
	digits, unit := s, int64(1)
	for _, u := range []struct {
		name string
		size int64
	}{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
		{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
	} {
		if d, ok := strings.CutSuffix(s, u.name); ok {
			digits, unit = strings.TrimSpace(d), u.size
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("%q is no number of bytes: write \"64MiB\", \"1GB\" or 1048576", s)
	}
	return n * unit, nil
}
