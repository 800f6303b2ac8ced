package parse

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCRI(t *testing.T) {
	at := func(s string) int64 {
		p, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return p.UnixNano()
	}
	for name, tc := range map[string]struct {
		in   string
		want Line
		bad  bool
	}{
		"nanoseconds":       {in: "2024-05-01T10:00:00.123456789Z stdout F hello", want: Line{Time: at("2024-05-01T10:00:00.123456789Z"), Text: []byte("hello")}},
		"trimmed fraction":  {in: "2024-05-01T10:00:00.12Z stderr F x", want: Line{Time: at("2024-05-01T10:00:00.12Z"), Stream: Stderr, Text: []byte("x")}},
		"no fraction":       {in: "2024-05-01T10:00:00Z stdout F x", want: Line{Time: at("2024-05-01T10:00:00Z"), Text: []byte("x")}},
		"zone":              {in: "2024-05-01T10:00:00.5+08:00 stdout P x", want: Line{Time: at("2024-05-01T10:00:00.5+08:00"), Partial: true, Text: []byte("x")}},
		"picoseconds":       {in: "2024-05-01T10:00:00.123456789123Z stdout F x", want: Line{Time: at("2024-05-01T10:00:00.123456789Z"), Text: []byte("x")}},
		"empty":             {in: "2024-05-01T10:00:00Z stdout F ", want: Line{Time: at("2024-05-01T10:00:00Z"), Text: []byte{}}},
		"empty, trimmed":    {in: "2024-05-01T10:00:00Z stdout F", want: Line{Time: at("2024-05-01T10:00:00Z")}},
		"more tags":         {in: "2024-05-01T10:00:00Z stdout P:a:b x y", want: Line{Time: at("2024-05-01T10:00:00Z"), Partial: true, Text: []byte("x y")}},
		"spaces kept":       {in: "2024-05-01T10:00:00Z stdout F   x ", want: Line{Time: at("2024-05-01T10:00:00Z"), Text: []byte("  x ")}},
		"hole of NULs":      {in: "\x00\x00\x002024-05-01T10:00:00Z stdout F x", want: Line{Time: at("2024-05-01T10:00:00Z"), Text: []byte("x")}},
		"NULs in content":   {in: "2024-05-01T10:00:00Z stdout F \x00\xff", want: Line{Time: at("2024-05-01T10:00:00Z"), Text: []byte("\x00\xff")}},
		"carriage return":   {in: "2024-05-01T10:00:00Z stdout F x\r", want: Line{Time: at("2024-05-01T10:00:00Z"), Text: []byte("x\r")}},
		"leap second":       {in: "2024-05-01T10:00:60Z stdout F x", bad: true},
		"no stream":         {in: "2024-05-01T10:00:00Z stdin_ F x", bad: true},
		"no tag":            {in: "2024-05-01T10:00:00Z stdout X x", bad: true},
		"long tag":          {in: "2024-05-01T10:00:00Z stdout FF x", bad: true},
		"bad zone":          {in: "2024-05-01T10:00:00+0800 stdout F x", bad: true},
		"bare dot":          {in: "2024-05-01T10:00:00.Z stdout F x", bad: true},
		"year out of range": {in: "9999-05-01T10:00:00Z stdout F x", bad: true},
		"nothing":           {in: "", bad: true},
		"cut":               {in: "2024-05-01T10:00:00Z std", bad: true},
		"text":              {in: "Exception in thread main", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			var c TimeCache
			for range 2 { // the second time from the cache
				got, err := CRI([]byte(tc.in), &c)
				if tc.bad {
					if !errors.Is(err, ErrFormat) {
						t.Fatalf("got %+v, %v; want ErrFormat", got, err)
					}
					continue
				}
				if err != nil || got.Time != tc.want.Time || got.Stream != tc.want.Stream || got.Partial != tc.want.Partial || !bytes.Equal(got.Text, tc.want.Text) {
					t.Fatalf("got %+v, %v; want %+v", got, err, tc.want)
				}
			}
		})
	}
}

func TestCRIAllocatesNothing(t *testing.T) {
	line := []byte("2024-05-01T10:00:00.123456789Z stdout F hello")
	var c TimeCache
	if n := testing.AllocsPerRun(100, func() { _, _ = CRI(line, &c) }); n != 0 {
		t.Errorf("%v allocations per line, want 0", n)
	}
}

func TestDocker(t *testing.T) {
	const now = `"time":"2024-05-01T10:00:00.5Z"`
	for name, tc := range map[string]struct {
		in, text string
		stream   Stream
		partial  bool
		bad      bool
	}{
		"plain":         {in: `{"log":"hello\n","stream":"stdout",` + now + `}`, text: "hello"},
		"stderr":        {in: `{"log":"x\n","stream":"stderr",` + now + `}`, text: "x", stream: Stderr},
		"partial":       {in: `{"log":"half","stream":"stdout",` + now + `}`, text: "half", partial: true},
		"escapes":       {in: `{"log":"\"\\\/\b\f\t\r\u00e9\u003c\ud83d\ude00\n",` + now + `}`, text: "\"\\/\b\f\t\ré<😀"},
		"lone high":     {in: `{"log":"\ud83dx\n",` + now + `}`, text: "\ufffdx"},
		"order, spaces": {in: ` { ` + now + ` , "log" : "x\n" } `, text: "x"},
		"attrs":         {in: `{"log":"x\n","attrs":{"a":"}","b":[1,{"c":null}]},"n":12,` + now + `}`, text: "x"},
		"quote at end":  {in: `{"log":"a\\\"\n",` + now + `}`, text: `a\"`},
		"invalid UTF-8": {in: "{\"log\":\"\xff\\n\"," + now + "}", text: "\xff"},
		"empty line":    {in: `{"log":"\n",` + now + `}`, text: ""},
		"no log":        {in: `{` + now + `}`, bad: true},
		"no time":       {in: `{"log":"x"}`, bad: true},
		"bad escape":    {in: `{"log":"\q",` + now + `}`, bad: true},
		"cut":           {in: `{"log":"x","stream":"std`, bad: true},
		"after":         {in: `{"log":"x",` + now + `}x`, bad: true},
		"no object":     {in: `["log"]`, bad: true},
		"empty":         {in: ``, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			var c TimeCache
			got, _, err := Docker([]byte(tc.in), nil, &c)
			if tc.bad {
				if err == nil {
					t.Fatalf("got %+v, want an error", got)
				}
				return
			}
			if err != nil || string(got.Text) != tc.text || got.Stream != tc.stream || got.Partial != tc.partial {
				t.Fatalf("got %q %+v, %v", got.Text, got, err)
			}
		})
	}
}

func FuzzCRI(f *testing.F) {
	f.Add([]byte("2024-05-01T10:00:00.123456789Z stdout F hello"))
	f.Add([]byte("2024-05-01T10:00:00+08:00 stderr P:x "))
	f.Add([]byte("\x00\x002024-02-30T10:00:00Z stdout F x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var c TimeCache
		l, err := CRI(in, &c)
		if err != nil {
			return
		}
		if !bytes.HasSuffix(in, l.Text) {
			t.Fatalf("%q is not the end of %q", l.Text, in)
		}
		head := bytes.TrimLeft(in, "\x00")
		stamp := string(head[:bytes.IndexByte(head, ' ')])
		want, err := time.Parse(time.RFC3339Nano, strings.ToUpper(stamp))
		if err == nil && want.UnixNano() != l.Time {
			t.Fatalf("time of %q is %d, want %d", stamp, l.Time, want.UnixNano())
		}
	})
}

func FuzzDocker(f *testing.F) {
	f.Add([]byte(`{"log":"hello\n","stream":"stdout","time":"2024-05-01T10:00:00.5Z"}`))
	f.Add([]byte(`{"log":"\ud83d\ude00\u0000","attrs":{"a":[1]},"stream":"stderr","time":"2024-05-01T10:00:00.5Z"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var c TimeCache
		l, _, err := Docker(in, nil, &c)
		var want struct{ Log, Stream, Time *string }
		if json.Unmarshal(in, &want) != nil {
			return // laxer than encoding/json is no fault, a panic is
		}
		if err != nil {
			return
		}
		// encoding/json matches names in any case and lets the last win; only
		// where there is one member of each kind can the two be compared.
		if want.Log == nil || bytes.Count(bytes.ToLower(in), []byte(`log"`)) != 1 || bytes.Contains(in, []byte(`\u`)) || !json.Valid(in) {
			return
		}
		text := string(l.Text)
		if !l.Partial {
			text += "\n"
		}
		if strings.ToValidUTF8(text, "\ufffd") != strings.ToValidUTF8(*want.Log, "\ufffd") && !strings.Contains(*want.Log, "\ufffd") {
			t.Fatalf("text %q, want %q", text, *want.Log)
		}
	})
}
