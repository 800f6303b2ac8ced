package record

import (
	"encoding/binary"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// Masks for looking at eight bytes at a time.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special has the high bit set in (at least) the lowest byte of w that JSON
// escapes: below 0x20, '"' or '\'. Bytes of 0x80 and more are not marked.
// Marks above the lowest may be wrong, by a borrow.
func special(w uint64) uint64 {
	low := w - ones*0x20
	quote := (w ^ ones*'"') - ones
	slash := (w ^ ones*'\\') - ones
	return (low | quote | slash) & ^w & highs
}

// AppendEscaped appends text as the inside of a JSON string. Bytes that are
// not UTF-8 are kept, each as the four characters \xNN (so `\\xNN` in JSON);
// U+2028, U+2029 and HTML's characters need no escape and get none.
func AppendEscaped(dst, text []byte) []byte {
	base, start, i := len(dst), 0, 0
	var seen uint64 // all bytes or-ed: whether any is above 0x7f
	for {
		for i+8 <= len(text) {
			w := binary.LittleEndian.Uint64(text[i:])
			seen |= w
			if special(w) != 0 {
				break
			}
			i += 8
		}
		end := min(i+8, len(text))
		for i < end && !escaped(text[i]) {
			seen |= uint64(text[i])
			i++
		}
		if i == len(text) {
			break
		}
		if i == end {
			continue
		}
		dst = append(dst, text[start:i]...)
		dst = appendEscape(dst, text[i])
		i++
		start = i
	}
	if seen&highs != 0 && !utf8.Valid(text) {
		return appendInvalid(dst[:base], text)
	}
	return append(dst, text[start:]...)
}

func escaped(c byte) bool { return c < 0x20 || c == '"' || c == '\\' }

// appendEscape appends one byte that needs an escape.
func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendInvalid is AppendEscaped for text that is not UTF-8.
func appendInvalid(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case escaped(c):
			dst = appendEscape(dst, c)
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			_, n := utf8.DecodeRune(text[i:])
			if n == 1 {
				dst = append(dst, '\\', '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
			} else {
				dst = append(dst, text[i:i+n]...)
			}
			i += n
		}
	}
	return dst
}

// appendString appends text as a JSON string.
func appendString(dst []byte, text string) []byte {
	dst = append(dst, '"')
	dst = AppendEscaped(dst, []byte(text))
	return append(dst, '"')
}
