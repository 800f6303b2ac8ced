package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// errFormat says that a cgroup file does not read as the kernel writes it.
var errFormat = errors.New("unexpected content")

// cutLine returns data's first line without its newline, and the rest.
func cutLine(data []byte) (line, rest []byte) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return data[:i], data[i+1:]
	}
	return data, nil
}

// cutField returns the part before the first space, and the part after it.
func cutField(line []byte) (field, rest []byte) {
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		return line[:i], line[i+1:]
	}
	return line, nil
}

// parseUint reads decimal digits and nothing else. It does not allocate.
func parseUint(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		d := uint64(c - '0')
		if n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// parseValue reads a file that holds one number.
func parseValue(data []byte) (uint64, error) {
	n, ok := parseUint(bytes.TrimSuffix(data, []byte("\n")))
	if !ok {
		return 0, fmt.Errorf("%w: %.64q is no number", errFormat, data)
	}
	return n, nil
}

// parseMax reads a file that holds a number or "max", which is NoLimit.
func parseMax(data []byte) (uint64, error) {
	data = bytes.TrimSuffix(data, []byte("\n"))
	if string(data) == "max" {
		return NoLimit, nil
	}
	return parseValue(data)
}

// parseInt reads a file that holds one number that may be negative.
func parseInt(data []byte) (int64, error) {
	n, err := strconv.ParseInt(string(bytes.TrimSuffix(data, []byte("\n"))), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %.64q is no number", errFormat, data)
	}
	return n, nil
}

// maxCPUNumber bounds CPU numbers: the kernel's own bound is 8192.
const maxCPUNumber = 1 << 16

// ParseCPUList reads the kernel's list format ("0-3,8", empty for none) into
// ascending CPU numbers. See cpumap_print_to_pagebuf, Documentation/admin-guide/cputopology.rst.
func ParseCPUList(data []byte) ([]int, error) {
	data = bytes.TrimSuffix(data, []byte("\n"))
	if len(data) == 0 {
		return nil, nil
	}
	var cpus []int
	next := uint64(0)
	for _, part := range bytes.Split(data, []byte(",")) {
		first, last, isRange := bytes.Cut(part, []byte("-"))
		from, ok := parseUint(first)
		to := from
		if isRange && ok {
			to, ok = parseUint(last)
		}
		if !ok || from < next || to < from || to >= maxCPUNumber {
			return nil, fmt.Errorf("%w: %.64q is no CPU list", errFormat, data)
		}
		for n := from; n <= to; n++ {
			cpus = append(cpus, int(n))
		}
		next = to + 1
	}
	return cpus, nil
}
