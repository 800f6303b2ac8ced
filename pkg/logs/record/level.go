package record

import "bytes"

// levelWindow is how far into a line a level is looked for, in bytes.
const levelWindow = 96

// words are the levels as programs write them, in capitals, and as we do.
var words = [...]struct{ word, level string }{
	{"TRACE", "trace"}, {"DEBUG", "debug"}, {"INFO", "info"}, {"NOTICE", "info"}, {"INFORMATION", "info"},
	{"WARN", "warn"}, {"WARNING", "warn"}, {"ERROR", "error"}, {"ERR", "error"}, {"SEVERE", "error"},
	{"FATAL", "fatal"}, {"CRITICAL", "fatal"}, {"CRIT", "fatal"}, {"PANIC", "fatal"}, {"EMERG", "fatal"}, {"ALERT", "fatal"},
}

// Level returns the level a line says of itself: trace, debug, info, warn,
// error, fatal, or "" when it says none. It knows
//   - a JSON object's member level, severity or lvl (a string, or pino's and
//     bunyan's numbers),
//   - logfmt's level= (also lvl= and severity=),
//   - klog's first letter and date (I0102),
//   - a word in capitals (ERROR), or in brackets in any case ([error]),
//
// within the first 96 bytes (JSON: 512). A word in small letters alone is not
// taken: "no error" is not an error.
func Level(text []byte) string {
	if len(text) > 0 && text[0] == '{' {
		return jsonLevel(text)
	}
	if l := klogLevel(text); l != "" {
		return l
	}
	w := text[:min(len(text), levelWindow)]
	inWord := false
	for i := 0; i < len(w); i++ {
		c := w[i]
		switch {
		case c >= 'A' && c <= 'Z':
			if !inWord {
				if l := wordLevel(w[i:], false); l != "" {
					return l
				}
			}
			inWord = true
		case c >= 'a' && c <= 'z':
			if !inWord && (c == 'l' || c == 's') {
				if l := logfmtLevel(w[i:]); l != "" {
					return l
				}
			}
			inWord = true
		case c == '[' && i+1 < len(w):
			inWord = false
			if l := wordLevel(w[i+1:], true); l != "" {
				return l
			}
		default:
			inWord = c >= '0' && c <= '9' || c == '_' || c >= 0x80
		}
	}
	return ""
}

// wordLevel returns the level of the word at the start of b. With anyCase
// small letters count as capitals.
func wordLevel(b []byte, anyCase bool) string {
	n := 0
	for n < len(b) && isLetter(b[n]) {
		n++
	}
	if n < 3 || n > 11 || (n < len(b) && (b[n] >= '0' && b[n] <= '9' || b[n] == '_')) {
		return ""
	}
	c := b[0]
	if anyCase {
		c &^= 0x20
	}
	for _, w := range words {
		if w.word[0] != c || len(w.word) != n {
			continue
		}
		if string(b[:n]) == w.word || anyCase && bytes.EqualFold(b[:n], []byte(w.word)) {
			return w.level
		}
	}
	return ""
}

func isLetter(c byte) bool { c |= 0x20; return c >= 'a' && c <= 'z' }

// klogLevel reads klog's and glog's header: a letter and four digits.
func klogLevel(b []byte) string {
	if len(b) < 6 || b[5] != ' ' {
		return ""
	}
	for _, c := range b[1:5] {
		if c < '0' || c > '9' {
			return ""
		}
	}
	switch b[0] {
	case 'I':
		return "info"
	case 'W':
		return "warn"
	case 'E':
		return "error"
	case 'F':
		return "fatal"
	}
	return ""
}

// logfmtLevel reads level=word at the start of b.
func logfmtLevel(b []byte) string {
	for _, k := range [...]string{"level=", "lvl=", "severity="} {
		if len(b) > len(k) && string(b[:len(k)]) == k {
			return wordLevel(bytes.TrimPrefix(b[len(k):], []byte(`"`)), true)
		}
	}
	return ""
}

// jsonLevel looks for the member without parsing: a string that only looks
// like one, in a nested object, is taken as well.
func jsonLevel(b []byte) string {
	b = b[:min(len(b), 512)]
	for _, k := range [...]string{`"level"`, `"severity"`, `"lvl"`} {
		i := bytes.Index(b, []byte(k))
		if i < 0 {
			continue
		}
		v := bytes.TrimLeft(b[i+len(k):], ": \t")
		if len(v) == 0 {
			continue
		}
		if v[0] == '"' {
			if l := wordLevel(v[1:], true); l != "" {
				return l
			}
			continue
		}
		if len(v) > 2 && v[1] == '0' && (v[2] < '0' || v[2] > '9') {
			if n := int(v[0] - '1'); n >= 0 && n < 6 {
				return [...]string{"trace", "debug", "info", "warn", "error", "fatal"}[n]
			}
		}
	}
	return ""
}
