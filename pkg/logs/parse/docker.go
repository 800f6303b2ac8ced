package parse

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Docker parses a line of Docker's json-file driver, an object with the
// members "log", "stream" and "time" in any order; others are passed over.
// A "log" that does not end with a newline is partial. Text is unescaped into
// buf, which is returned grown for the next call.
func Docker(line, buf []byte, times *TimeCache) (Line, []byte, error) {
	for len(line) > 0 && line[0] == 0 {
		line = line[1:]
	}
	var (
		l       Line
		hasLog  bool
		hasTime bool
	)
	p := jsonScanner{b: line}
	if !p.open('{') {
		return Line{}, buf, ErrFormat
	}
	for !p.take('}') {
		key, ok := p.rawString()
		if !ok || !p.open(':') {
			return Line{}, buf, ErrFormat
		}
		switch string(key) {
		case "log":
			raw, ok := p.rawString()
			if !ok {
				return Line{}, buf, ErrFormat
			}
			start := len(buf[:0])
			buf, ok = unescape(buf[:0], raw)
			if !ok {
				return Line{}, buf, ErrFormat
			}
			l.Text, hasLog = buf[start:], true
		case "stream":
			raw, ok := p.rawString()
			if !ok {
				return Line{}, buf, ErrFormat
			}
			if string(raw) == "stderr" {
				l.Stream = Stderr
			}
		case "time":
			raw, ok := p.rawString()
			if !ok {
				return Line{}, buf, ErrFormat
			}
			if l.Time, hasTime = times.Parse(raw); !hasTime {
				return Line{}, buf, ErrFormat
			}
		default:
			if !p.skipValue() {
				return Line{}, buf, ErrFormat
			}
		}
		if !p.take(',') && (len(p.b) == 0 || p.b[0] != '}') {
			return Line{}, buf, ErrFormat
		}
	}
	if p.space(); len(p.b) > 0 || !hasLog || !hasTime {
		return Line{}, buf, ErrFormat
	}
	if n := len(l.Text); n > 0 && l.Text[n-1] == '\n' {
		l.Text = l.Text[:n-1]
	} else {
		l.Partial = true
	}
	return l, buf, nil
}

// A jsonScanner takes JSON tokens off the front of b.
type jsonScanner struct{ b []byte }

func (p *jsonScanner) space() {
	for len(p.b) > 0 && (p.b[0] == ' ' || p.b[0] == '\t' || p.b[0] == '\r' || p.b[0] == '\n') {
		p.b = p.b[1:]
	}
}

// take consumes c, with space before and after, if it is next.
func (p *jsonScanner) take(c byte) bool {
	p.space()
	if len(p.b) == 0 || p.b[0] != c {
		return false
	}
	p.b = p.b[1:]
	p.space()
	return true
}

func (p *jsonScanner) open(c byte) bool { return p.take(c) }

// rawString takes a string and returns what is between its quotes, escaped.
func (p *jsonScanner) rawString() ([]byte, bool) {
	if len(p.b) == 0 || p.b[0] != '"' {
		return nil, false
	}
	b := p.b[1:]
	for i := 0; ; {
		q := bytes.IndexByte(b[i:], '"')
		if q < 0 {
			return nil, false
		}
		i += q
		// The quote ends the string unless an odd number of backslashes
		// stands before it.
		n := 0
		for i-n > 0 && b[i-n-1] == '\\' {
			n++
		}
		if n%2 == 0 {
			p.b = b[i+1:]
			return b[:i], true
		}
		i++
	}
}

// skipValue takes any value. Nested ones are followed by depth only: what is
// passed over need not be valid.
func (p *jsonScanner) skipValue() bool {
	depth := 0
	for len(p.b) > 0 {
		switch c := p.b[0]; c {
		case '"':
			if _, ok := p.rawString(); !ok {
				return false
			}
		case '{', '[':
			depth++
			p.b = p.b[1:]
		case '}', ']':
			if depth == 0 {
				return true
			}
			depth--
			p.b = p.b[1:]
		case ',':
			if depth == 0 {
				return true
			}
			p.b = p.b[1:]
		default:
			p.b = p.b[1:]
		}
		if depth == 0 && len(p.b) > 0 && (p.b[0] == ',' || p.b[0] == '}') {
			return true
		}
	}
	return false
}

// unescape appends the text of an escaped JSON string to dst. Bytes that are
// not UTF-8 pass as they are; a lone surrogate becomes U+FFFD.
func unescape(dst, raw []byte) ([]byte, bool) {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...), true
		}
		dst = append(dst, raw[:i]...)
		raw = raw[i+1:]
		if len(raw) == 0 {
			return dst, false
		}
		c := raw[0]
		raw = raw[1:]
		switch c {
		case '"', '\\', '/':
			dst = append(dst, c)
		case 'n':
			dst = append(dst, '\n')
		case 't':
			dst = append(dst, '\t')
		case 'r':
			dst = append(dst, '\r')
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'u':
			r, ok := hex4(raw)
			if !ok {
				return dst, false
			}
			raw = raw[4:]
			if utf16.IsSurrogate(r) {
				low := rune(0)
				if len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
					low, _ = hex4(raw[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					raw = raw[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			return dst, false
		}
	}
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
