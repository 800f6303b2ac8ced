package state

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// TestEncode: a record in which every field is set, and one in which none is,
// are written as encoding/json writes them. A field that is added to the
// struct and not to encode fails here.
func TestEncode(t *testing.T) {
	full := &Attachment{}
	fill(reflect.ValueOf(full).Elem())
	for _, a := range []*Attachment{full, {}} {
		want, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.encode(); string(got) != string(want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// fill sets every field of v to something.
func fill(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(2026, 1, 2, 3, 4, 5, 60700, time.UTC)
		return
	case *netip.Addr:
		*x = netip.MustParseAddr("fd00::1")
		return
	case *netip.Prefix:
		*x = netip.MustParsePrefix("10.0.0.1/24")
		return
	case *json.RawMessage:
		*x = json.RawMessage(`{"a":[1,null]}`)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.String:
		v.SetString("a \"name\"")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(1 << 60)
	default:
		panic("fill does not know " + v.Type().String())
	}
}
