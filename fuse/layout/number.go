package layout

import "strconv"

// Uint appends v in decimal, at most digits wide: a value that needs more is
// shown as the largest that fits, so that it never looks smaller than before.
// digits is from 1 to 20.
func (w *Writer) Uint(v uint64, digits int) {
	w.B = strconv.AppendUint(w.B, Clamp(v, digits), 10)
}

// PadUint is Uint, with spaces before the number up to digits.
func (w *Writer) PadUint(v uint64, digits int) {
	v = Clamp(v, digits)
	w.pad(len(w.B) + digits - Digits(v))
	w.B = strconv.AppendUint(w.B, v, 10)
}

// String appends s.
func (w *Writer) String(s string) { w.B = append(w.B, s...) }

// Clamp returns v, or the largest number of that many digits when it is less.
func Clamp(v uint64, digits int) uint64 {
	if digits >= 20 {
		return v
	}
	largest := uint64(1)
	for range digits {
		largest *= 10
	}
	return min(v, largest-1)
}

// Digits returns how many decimal digits v has.
func Digits(v uint64) int {
	n := 1
	for ; v >= 10; v /= 10 {
		n++
	}
	return n
}
