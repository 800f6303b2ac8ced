package procview

import (
	"bytes"
	"fmt"
	"strconv"
)

// CPUInfo appends /proc/cpuinfo of n CPUs: blocks of the host's file, repeated
// where n is above the host's count, and numbered as one socket of n cores
// with one thread each. What stands before the first block and after the last
// stays as it is. The file does not change while n stays, so it has no
// padding.
//
// Formats: x86 (arch/x86/kernel/cpu/proc.c), arm64, arm (with a block of
// hardware at the end), riscv, ppc64, loongarch. Of a file with no
// "processor" lines (s390) the error wraps ErrFormat.
func CPUInfo(dst, host []byte, n int) ([]byte, error) {
	var head, tail []byte
	var blocks [][]byte
	for rest := host; len(rest) > 0; {
		var block []byte
		block, rest = cutBlock(rest)
		switch {
		case isProcessor(block):
			blocks, tail = append(blocks, block), rest
		case len(blocks) == 0:
			head = host[:len(host)-len(rest)]
		}
	}
	if len(blocks) == 0 || n < 1 {
		return dst, fmt.Errorf("cpuinfo of %d CPUs: %w: no line \"processor\"", n, ErrFormat)
	}
	dst = append(dst, head...)
	for i := range n {
		dst = appendCPU(dst, blocks[i%len(blocks)], i, n)
	}
	return append(dst, tail...), nil
}

// cutBlock returns data up to and with its first empty line, and the rest.
func cutBlock(data []byte) (block, rest []byte) {
	if i := bytes.Index(data, []byte("\n\n")); i >= 0 {
		return data[:i+2], data[i+2:]
	}
	return data, nil
}

func isProcessor(block []byte) bool {
	return bytes.Equal(cpuKey(block), []byte("processor"))
}

// cpuKey is the name at the start of a line: what is before the colon, without
// the tabs that align it.
func cpuKey(line []byte) []byte {
	line, _ = cutLine(line)
	key, _, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return nil
	}
	return bytes.TrimRight(key, " \t")
}

// appendCPU appends a block as that of CPU i of n.
func appendCPU(dst, block []byte, i, n int) []byte {
	for len(block) > 0 {
		var line []byte
		line, block = cutLine(block)
		if v, ok := cpuNumber(cpuKey(line), i, n); ok {
			dst = append(dst, line[:bytes.IndexByte(line, ':')+1]...)
			dst = append(dst, ' ')
			dst = strconv.AppendInt(dst, int64(v), 10)
		} else {
			dst = append(dst, line...)
		}
		dst = append(dst, '\n')
	}
	return dst
}

// cpuNumber is the value of a line that tells where a CPU stands; ok is false
// for one that tells what it is.
func cpuNumber(key []byte, i, n int) (v int, ok bool) {
	switch string(key) {
	case "processor", "core id", "apicid", "initial apicid",
		"hart",              // riscv
		"core", "global_id": // loongarch
		return i, true
	case "physical id", "package":
		return 0, true
	case "siblings", "cpu cores":
		return n, true
	}
	return 0, false
}
