package jsonw

import (
	"encoding/json"
	"net/netip"
	"testing"
)

// FuzzAppendString: encoding/json reads what we write as it reads its own.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"b\\c", "\x00\x1f\n\t\x7f", "ä€😀", "\xff\xfecut\xc3", "<&>\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		own, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var want, got string
		if err := json.Unmarshal(own, &want); err != nil {
			t.Fatal(err)
		}
		b := AppendString(nil, s)
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("%q is written %s and read as %q, %v", s, b, got, err)
		}
	})
}

func TestObject(t *testing.T) {
	var empty, o Object
	if got := string(empty.Bytes()); got != "{}" {
		t.Errorf("empty: %s", got)
	}
	o.String("s", `"`)
	o.Optional("none", "")
	o.Uint("n", 1<<63)
	o.True("no", false)
	o.True("yes", true)
	o.Addrs("addrs", []netip.Addr{netip.MustParseAddr("fd00::1"), {}})
	o.Prefixes("none", nil)
	o.Prefixes("nets", []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")})
	want := `{"s":"\"","n":9223372036854775808,"yes":true,"addrs":["fd00::1",""],"nets":["10.0.0.1/8"]}`
	if got := string(o.Bytes()); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
