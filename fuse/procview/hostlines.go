package procview

import (
	"bytes"
	"strconv"
)

// cutLine returns data's first line without its newline, and the rest.
func cutLine(data []byte) (line, rest []byte) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return data[:i], data[i+1:]
	}
	return data, nil
}

// parseUint reads decimal digits and nothing else.
func parseUint(b []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(b), 10, 64)
	return n, err == nil && len(b) > 0 && b[0] != '+'
}
