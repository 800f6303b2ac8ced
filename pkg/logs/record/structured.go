package record

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// structured appends a message that is a JSON object as one, nested or merged.
// It says false, and appends nothing, for any other text and for an object
// that has a member twice.
func (p *Program) structured(dst, text []byte) ([]byte, bool) {
	obj := bytes.TrimSpace(text)
	if len(obj) < 2 || obj[0] != '{' || !json.Valid(obj) || !utf8.Valid(obj) {
		return dst, false
	}
	if p.mode == "nest" {
		dst = append(dst, ',')
		dst = append(dst, p.nestName...)
		dst = append(dst, ':')
		return append(dst, obj...), true
	}
	base := len(dst)
	seen := map[string]bool{}
	for rest := obj[1:]; ; {
		key, value, next := member(rest)
		if key == nil {
			return dst, true
		}
		var name string
		if json.Unmarshal(key, &name) != nil {
			return dst[:base], false
		}
		if p.own[name] {
			name = p.prefix + name
		}
		if seen[name] || p.own[name] {
			return dst[:base], false
		}
		seen[name] = true
		dst = append(dst, ',')
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = append(dst, value...)
		rest = next
	}
}

// member takes the next member off the inside of a valid object: its key with
// quotes, its value, and what follows. The key is nil at the object's end.
func member(b []byte) (key, value, rest []byte) {
	b = bytes.TrimLeft(b, " \t\r\n,")
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, nil
	}
	n := stringLen(b)
	key, b = b[:n], bytes.TrimLeft(b[n:], " \t\r\n:")
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringLen(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return key, bytes.TrimRight(b[:i], " \t\r\n"), b[i:]
			}
			depth--
		case ',':
			if depth == 0 {
				return key, bytes.TrimRight(b[:i], " \t\r\n"), b[i:]
			}
		}
	}
	return nil, nil, nil
}

// stringLen returns the length of the valid JSON string at the start of b.
func stringLen(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}
