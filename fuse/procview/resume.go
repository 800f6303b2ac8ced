package procview

import (
	"bytes"
	"strconv"
	"time"
)

// What a server showed last is read back by its successor, so that uptime does
// not run backwards, nor the load begin at zero. ok is false for anything
// else than such a file.

// ParseUptime returns the uptime that a /proc/uptime shows.
func ParseUptime(data []byte) (up time.Duration, ok bool) {
	f := bytes.Fields(data)
	if len(f) != 2 {
		return 0, false
	}
	seconds, ok := parseShown(f[0], 1e9) // 30 years
	return time.Duration(seconds * float64(time.Second)), ok
}

// ParseLoad returns the load averages that a /proc/loadavg shows.
func ParseLoad(data []byte) (l Load, ok bool) {
	f := bytes.Fields(data)
	if len(f) != 5 {
		return Load{}, false
	}
	for i := range l.avg {
		if l.avg[i], ok = parseShown(f[i], 1<<22); !ok { // the threads that a kernel can have
			return Load{}, false
		}
	}
	return l, true
}

func parseShown(field []byte, most float64) (v float64, ok bool) {
	v, err := strconv.ParseFloat(string(field), 64)
	return v, err == nil && v >= 0 && v <= most
}
