// Package layout keeps a file of changing numbers at one size, page by page.
//
// The view's files are served from the kernel's page cache, which may combine
// pages of two snapshots, and cut at a size that has just changed. So a file has a [Layout]: each line has a reserved
// width, lines are packed into pages so that none crosses a page's end, and
// each page holds the same lines in every snapshot. What a page's lines leave
// of their reservation stands as spaces at the end of its last line.
//
// It is pure and imports the standard library only.
package layout

import "fmt"

// PageSize is the unit in bytes that a reader sees whole: the smallest page of
// any kernel, so a multiple of it ends where a page of any kernel ends.
const PageSize = 4096

// A Layout is where the lines of a file lie. It never changes; a file with
// other lines has another Layout, and another size.
type Layout struct {
	// ends has the offset behind each line's reservation within the file.
	// For the last line of a page it is the page's end.
	ends []int
	// last marks the last line of each page.
	last []bool
}

// New packs lines of the given widths, each in bytes with its newline: the
// longest that the line can become. The error names a line that is not from 1
// to PageSize bytes long.
func New(widths []int) (*Layout, error) {
	l := &Layout{ends: make([]int, len(widths)), last: make([]bool, len(widths))}
	end := 0
	for i, w := range widths {
		if w < 1 || w > PageSize {
			return nil, fmt.Errorf("line %d of %d bytes: want 1 to %d", i+1, w, PageSize)
		}
		if room := PageSize - end%PageSize; i > 0 && (room < w || room == PageSize) {
			end += room % PageSize
			l.ends[i-1], l.last[i-1] = end, true
		}
		end += w
		l.ends[i] = end
	}
	if n := len(widths); n > 0 {
		l.last[n-1] = true
	}
	return l, nil
}

// Size returns the file's size in bytes.
func (l *Layout) Size() int {
	if len(l.ends) == 0 {
		return 0
	}
	return l.ends[len(l.ends)-1]
}

// Lines returns the number of lines.
func (l *Layout) Lines() int { return len(l.ends) }

// Write starts a file behind dst.
func (l *Layout) Write(dst []byte) Writer {
	return Writer{B: dst, layout: l, base: len(dst), start: len(dst)}
}

// A Writer composes one snapshot of a file. Append a line's bytes to B, without
// the newline, and call End; after the last line, call Done.
type Writer struct {
	B []byte

	layout *Layout
	base   int // where the file starts in B
	start  int // where the current line starts in B
	line   int
	cut    bool
}

// End ends a line. A line may be longer than its reservation by what the lines
// before it on the page left of theirs; what goes beyond is cut off, which Cut
// reports. A line more than the layout has is dropped likewise.
func (w *Writer) End() {
	if w.line >= len(w.layout.ends) {
		w.cut = w.cut || len(w.B) > w.start
		w.B = w.B[:w.start]
		return
	}
	// What the page's earlier lines left is this line's; the reservations
	// behind it stay whole.
	limit := w.base + w.layout.ends[w.line] - 1
	if len(w.B) > limit {
		w.B = w.B[:limit]
		w.cut = true
	}
	if w.layout.last[w.line] {
		w.pad(limit)
	}
	w.B = append(w.B, '\n')
	w.start = len(w.B)
	w.line++
}

// Done returns the bytes. Lines that were not written are empty.
func (w *Writer) Done() []byte {
	for w.line < len(w.layout.ends) {
		w.End()
	}
	return w.B
}

// Cut reports whether something had to be cut off so far.
func (w *Writer) Cut() bool { return w.cut }

// pad appends spaces up to the offset to.
func (w *Writer) pad(to int) {
	for n := to - len(w.B); n > 0; n = to - len(w.B) {
		w.B = append(w.B, spaces[:min(n, len(spaces))]...)
	}
}

const spaces = "                                                                "
