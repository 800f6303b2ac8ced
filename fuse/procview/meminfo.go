package procview

import (
	"bytes"
	"fmt"

	"github.com/truesize/truesize/fuse/layout"
	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/size"
)

// Meminfo is /proc/meminfo of a container: every line that the host's kernel
// has, in its order (fs/proc/meminfo.c).
type Meminfo struct {
	size   size.Size
	layout *layout.Layout
	lines  []meminfoLine
	// digits is the width of the columns of kilobytes, 8 or more: wide enough
	// for the largest number, so that lines keep their length.
	digits int
	// hugePage is the kernel's default size of huge pages in bytes, and
	// hugePages how many the host has.
	hugePage, hugePages uint64
}

// A meminfoLine is one line: where its value comes from, or the value itself.
type meminfoLine struct {
	label string // "MemTotal:       "
	field meminfoField
	fixed uint64 // the value when field is nil
	unit  string // " kB" or ""
	width int    // of the value
}

// A meminfoField computes a line's value: bytes for lines in kB, else a count.
type meminfoField func(*memoryView) uint64

const (
	kB = 1024
	// maxMeminfoLines bounds the host's file.
	maxMeminfoLines = 512
	// minDigits is the kernel's own width for kilobytes.
	minDigits = 8
)

// NewMeminfo takes the names, their order and what is a constant of the
// kernel from the host's file. Lines that it cannot read are left out. The
// error wraps ErrFormat when the file has no MemTotal.
func NewMeminfo(host []byte, s size.Size) (*Meminfo, error) {
	h, err := parseMeminfo(host)
	if err != nil {
		return nil, err
	}
	m := &Meminfo{size: s, hugePage: h.value("Hugepagesize") * kB, hugePages: h.value("HugePages_Total")}
	m.digits = max(minDigits, layout.Digits(commitLimit(h, s)/kB), layout.Digits((s.Memory+s.Swap)/kB))
	var widths []int
	for _, l := range h {
		line := m.line(h, l)
		m.lines = append(m.lines, line)
		widths = append(widths, len(line.label)+line.width+len(line.unit)+1)
	}
	m.layout, err = layout.New(widths)
	if err != nil {
		return nil, fmt.Errorf("meminfo: %w: %w", ErrFormat, err)
	}
	return m, nil
}

// line decides what a line of the host's file becomes.
func (m *Meminfo) line(h hostMeminfo, l hostLine) meminfoLine {
	out := meminfoLine{label: l.label, unit: l.unit, field: meminfoFields(l.name), width: m.digits}
	if out.field == nil {
		// The kernel lets a label that is too long take from the column.
		out.fixed = fixedMeminfo(h, l, m.size)
		column := m.digits - (len(l.label) - labelWidth)
		out.width = max(column, 1+layout.Digits(out.fixed))
		if len(l.label) == labelWidth {
			out.width = max(column, layout.Digits(out.fixed))
		}
	}
	return out
}

// Size returns the file's constant size in bytes.
func (m *Meminfo) Size() int { return m.layout.Size() }

// Append appends one snapshot. huge is the reading of the host's default page
// size; its zero value is no huge pages.
func (m *Meminfo) Append(dst []byte, mem cgroup.Memory, huge cgroup.HugePages) []byte {
	v := newMemoryView(m, mem, huge)
	w := m.layout.Write(dst)
	for i := range m.lines {
		l := &m.lines[i]
		value := l.fixed
		if l.field != nil {
			value = l.field(&v)
			if l.unit != "" {
				value /= kB
			}
		}
		w.String(l.label)
		w.PadUint(value, l.width)
		w.String(l.unit)
		w.End()
	}
	return w.Done()
}

// A hostLine is one line of the host's meminfo.
type hostLine struct {
	name  string
	label string // name, colon and the spaces that align the values
	value uint64
	unit  string
}

type hostMeminfo []hostLine

// value returns the value of a line, 0 when the host has none.
func (h hostMeminfo) value(name string) uint64 {
	for _, l := range h {
		if l.name == name {
			return l.value
		}
	}
	return 0
}

// labelWidth is how wide the kernel makes a label.
const labelWidth = 16

func parseMeminfo(data []byte) (hostMeminfo, error) {
	var h hostMeminfo
	for len(data) > 0 && len(h) < maxMeminfoLines {
		var line []byte
		line, data = cutLine(data)
		if l, ok := parseMeminfoLine(line); ok {
			h = append(h, l)
		}
	}
	if h.value("MemTotal") == 0 {
		return nil, fmt.Errorf("meminfo: %w: no MemTotal", ErrFormat)
	}
	return h, nil
}

// parseMeminfoLine reads "MemTotal:       24684084 kB".
func parseMeminfoLine(line []byte) (hostLine, bool) {
	name, rest, ok := bytes.Cut(line, []byte(":"))
	fields := bytes.Fields(rest)
	if !ok || len(name) == 0 || len(name) > 64 || len(fields) < 1 || len(fields) > 2 {
		return hostLine{}, false
	}
	l := hostLine{name: string(name), label: string(name) + ":"}
	if l.value, ok = parseUint(fields[0]); !ok {
		return hostLine{}, false
	}
	if len(fields) == 2 {
		if string(fields[1]) != "kB" {
			return hostLine{}, false
		}
		l.unit = " kB"
	}
	for len(l.label) < labelWidth {
		l.label += " "
	}
	return l, true
}
