// Package jsonw writes JSON text piece by piece.
//
// encoding/json builds an encoder for each type by reflection when it first
// meets it. A program that writes one value of a type and ends pays for that
// with a tenth of its time; what it reads is decoded as usual.
package jsonw

import (
	"net/netip"
	"strconv"
	"unicode/utf8"
)

// An Object is a JSON object in the making. The zero value is ready; Bytes
// completes it.
type Object struct{ buf []byte }

// Bytes closes the object and returns its text.
func (o *Object) Bytes() []byte {
	if len(o.buf) == 0 {
		o.buf = append(o.buf, '{')
	}
	return append(o.buf, '}')
}

// Raw adds a value that is JSON already.
func (o *Object) Raw(key string, value []byte) {
	if len(o.buf) == 0 {
		o.buf = append(make([]byte, 0, 1024), '{')
	} else {
		o.buf = append(o.buf, ',')
	}
	o.buf = append(AppendString(o.buf, key), ':')
	o.buf = append(o.buf, value...)
}

// String adds a string.
func (o *Object) String(key, value string) { o.Raw(key, AppendString(nil, value)) }

// Optional adds a string that is not empty.
func (o *Object) Optional(key, value string) {
	if value != "" {
		o.String(key, value)
	}
}

// Uint adds a number.
func (o *Object) Uint(key string, value uint64) { o.Raw(key, strconv.AppendUint(nil, value, 10)) }

// True adds true; false is left out.
func (o *Object) True(key string, value bool) {
	if value {
		o.Raw(key, []byte("true"))
	}
}

// Addrs adds addresses, none is left out.
func (o *Object) Addrs(key string, list []netip.Addr) { addTexts(o, key, list) }

// Prefixes adds prefixes, none is left out.
func (o *Object) Prefixes(key string, list []netip.Prefix) { addTexts(o, key, list) }

func addTexts[T interface{ MarshalText() ([]byte, error) }](o *Object, key string, list []T) {
	if len(list) == 0 {
		return
	}
	values := make([][]byte, len(list))
	for i, v := range list {
		text, _ := v.MarshalText() // of an address: it has no error
		values[i] = AppendString(nil, string(text))
	}
	o.Raw(key, Array(values))
}

// Array returns a JSON array of values.
func Array(values [][]byte) []byte {
	b := []byte{'['}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, v...)
	}
	return append(b, ']')
}

// AppendString appends s as a JSON string (RFC 8259, section 7). What is not
// UTF-8 becomes U+FFFD, as in encoding/json.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20:
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
