package record

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/truesize/truesize/pkg/logs/join"
	"github.com/truesize/truesize/pkg/logs/parse"
)

var meta = Meta{
	Namespace: "shop", Pod: "web-1", PodUID: "u1", PodIP: "10.0.0.9", Container: "nginx", ContainerID: "c1",
	Image: "nginx:1", Node: "n1", NodeIP: "10.0.0.1", File: "shop_web-1_u1/nginx/0.log", Restart: 2,
	Labels: map[string]string{"app": `sh"op`, "tier": "front"},
}

var when = time.Date(2024, 5, 1, 10, 0, 0, 123456789, time.UTC).UnixNano()

func render(t *testing.T, f Format, r join.Record) string {
	t.Helper()
	p, err := f.Compile(&meta)
	if err != nil {
		t.Fatal(err)
	}
	if r.Time == 0 {
		r.Time = when
	}
	return string(p.Append([]byte("x"), &r, "00ff00ff00ff00ff"))[1:]
}

func TestFormats(t *testing.T) {
	f := func(fields ...Field) Format {
		return Format{Fields: append(fields, Field{Name: "m", Source: "message"})}
	}
	with := func(f Format, change func(*Format)) Format { change(&f); return f }
	text := func(s string) join.Record {
		return join.Record{Text: []byte(s), Pos: join.Pos{Offset: 42}, Stream: parse.Stderr}
	}
	for name, tc := range map[string]struct {
		format Format
		in     join.Record
		want   string
	}{
		"default": {Default(), text("ERROR x"), `{"@timestamp":"2024-05-01T10:00:00.123Z","level":"error","app":"sh\"op","host":"n1","ip":"10.0.0.9","namespace":"shop","pod":"web-1","container":"nginx","stream":"stderr","message":"ERROR x","file":"00ff00ff00ff00ff","sequence":42}`},
		"flags": {Default(), join.Record{Split: true, Continued: true, Unparsed: true},
			`{"@timestamp":"2024-05-01T10:00:00.123Z","app":"sh\"op","host":"n1","ip":"10.0.0.9","namespace":"shop","pod":"web-1","container":"nginx","stream":"stdout","message":"","split":true,"continued":true,"unparsed":true,"file":"00ff00ff00ff00ff","sequence":0}`},
		"no fields":      {Format{}, join.Record{Text: []byte("x")}, `{"@timestamp":"2024-05-01T10:00:00.123Z","app":"sh\"op","host":"n1","ip":"10.0.0.9","namespace":"shop","pod":"web-1","container":"nginx","stream":"stdout","message":"x","file":"00ff00ff00ff00ff","sequence":0}`},
		"constants":      {f(Field{"u", "podUID", false}, Field{"i", "image", false}, Field{"c", "containerID", false}, Field{"r", "restart", false}, Field{"p", "file", false}, Field{"n", "nodeIP", false}), text("x"), `{"u":"u1","i":"nginx:1","c":"c1","r":2,"p":"shop_web-1_u1/nginx/0.log","n":"10.0.0.1","m":"x"}`},
		"labels":         {f(Field{"l", "labels", false}, Field{"t", "label:tier", false}, Field{"none", "label:none", false}, Field{"a", "annotation:none", true}), text("x"), `{"l":{"app":"sh\"op","tier":"front"},"t":"front","a":"","m":"x"}`},
		"position":       {f(Field{"p", "position", false}), text("x"), `{"p":"00ff00ff00ff00ff:42","m":"x"}`},
		"kept":           {f(Field{"l", "level", true}, Field{"s", "split", true}, Field{"c", "continued", true}, Field{"u", "unparsed", true}), text("x"), `{"l":"","s":false,"c":false,"u":false,"m":"x"}`},
		"fixed":          {with(f(), func(f *Format) { f.Fixed = map[string]string{"b": "2", "a": "1"} }), text("x"), `{"m":"x","a":"1","b":"2"}`},
		"zone":           {with(f(Field{"t", "time", false}), func(f *Format) { f.TimeLayout, f.TimeZone = "2006/01/02 15:04:05,000000 MST", "Asia/Shanghai" }), text("x"), `{"t":"2024/05/01 18:00:00,123456 CST","m":"x"}`},
		"unix":           {with(f(Field{"t", "time", false}), func(f *Format) { f.TimeLayout = "unixMilli" }), text("x"), `{"t":1714557600123,"m":"x"}`},
		"no fraction":    {with(f(Field{"t", "time", false}), func(f *Format) { f.TimeLayout = "rfc3339" }), text("x"), `{"t":"2024-05-01T10:00:00Z","m":"x"}`},
		"trimmed":        {with(f(Field{"t", "time", false}), func(f *Format) { f.TimeLayout = time.RFC3339Nano }), join.Record{Time: when / 1e9 * 1e9, Text: []byte("x")}, `{"t":"2024-05-01T10:00:00Z","m":"x"}`},
		"before 1970":    {with(f(Field{"t", "time", false}), func(f *Format) { f.TimeLayout = "rfc3339nano" }), join.Record{Time: -1, Text: []byte("x")}, `{"t":"1969-12-31T23:59:59.999999999Z","m":"x"}`},
		"raw":            {Format{Type: "raw"}, text("a\"\x00\xff"), "a\"\x00\xff"},
		"escapes":        {f(), text("a\"\\\n\r\t\x00\x1f\x7fé\xff\u2028z"), `{"m":"a\"\\\n\r\t\u0000\u001f` + "\x7fé" + `\\xff` + "\u2028" + `z"}`},
		"nested":         {with(f(Field{"l", "level", false}), func(f *Format) { f.Messages = "nest" }), text(`{"level":"warn","a":{"b":[1]}} `), `{"l":"warn","json":{"level":"warn","a":{"b":[1]}}}`},
		"nest no object": {with(f(), func(f *Format) { f.Messages = "nest" }), text(`{"a":`), `{"m":"{\"a\":"}`},
		"merged":         {with(f(Field{"pod", "pod", false}), func(f *Format) { f.Messages = "merge" }), text(`{"pod":"mine" , "m":"text","a":[{"x":"}"},2]}`), `{"pod":"web-1","message.pod":"mine","m":"text","a":[{"x":"}"},2]}`},
		"merged twice":   {with(f(), func(f *Format) { f.Messages = "merge" }), text(`{"a":1,"a":2}`), `{"m":"{\"a\":1,\"a\":2}"}`},
		"merged empty":   {with(f(Field{"pod", "pod", false}), func(f *Format) { f.Messages = "merge" }), text(`{}`), `{"pod":"web-1"}`},
		"merged alone":   {with(f(), func(f *Format) { f.Messages = "merge" }), text(`{}`), `{}`},
		"not UTF-8 JSON": {with(f(), func(f *Format) { f.Messages = "nest" }), text("{\"a\":\"\xff\"}"), `{"m":"{\"a\":\"\\xff\"}"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := render(t, tc.format, tc.in)
			if got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
			if tc.format.Type != "raw" && !json.Valid([]byte(got)) {
				t.Errorf("not JSON: %s", got)
			}
		})
	}
}

func TestOTLP(t *testing.T) {
	got := render(t, Format{Type: "otlp-json", Fixed: map[string]string{"env": "prod"}}, join.Record{Text: []byte("FATAL \"x\""), Split: true})
	var msg struct {
		ResourceLogs []struct {
			Resource struct {
				Attributes []struct {
					Key   string
					Value map[string]string
				}
			}
			ScopeLogs []struct {
				LogRecords []struct {
					TimeUnixNano   string
					SeverityNumber int
					SeverityText   string
					Body           struct{ StringValue string }
					Attributes     []struct {
						Key   string
						Value map[string]any
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(got), &msg); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	rec := msg.ResourceLogs[0].ScopeLogs[0].LogRecords[0]
	if rec.TimeUnixNano != "1714557600123456789" || rec.SeverityNumber != 21 || rec.SeverityText != "fatal" || rec.Body.StringValue != `FATAL "x"` || len(rec.Attributes) != 5 {
		t.Errorf("record %+v", rec)
	}
	attrs := map[string]string{}
	for _, a := range msg.ResourceLogs[0].Resource.Attributes {
		attrs[a.Key] = a.Value["stringValue"]
	}
	if attrs["service.name"] != `sh"op` || attrs["k8s.pod.label.tier"] != "front" || attrs["env"] != "prod" {
		t.Errorf("resource %v", attrs)
	}
}

func TestValidate(t *testing.T) {
	for want, f := range map[string]Format{
		"type":            {Type: "xml"},
		"messages":        {Messages: "parse"},
		"time zone":       {TimeZone: "Mars/Phobos"},
		"time layout":     {TimeLayout: "today"},
		"it has no name":  {Fields: []Field{{"", "time", false}, {"m", "message", false}}},
		"is there twice":  {Fields: []Field{{"m", "time", false}, {"m", "message", false}}},
		"unknown source":  {Fields: []Field{{"a", "colour", false}, {"m", "message", false}}},
		"source message":  {Fields: []Field{{"a", "time", false}}},
		`source "label:"`: {Fields: []Field{{"a", "label:", false}, {"m", "message", false}}},
	} {
		if err := f.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q in it", f, err, want)
		}
	}
	d := Default()
	if err := d.Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
}

func TestLevel(t *testing.T) {
	for in, want := range map[string]string{
		"2024-05-01 10:00:00,123 ERROR [main] x": "error",
		"INFO: x":                                "info",
		"I0501 10:00:00.1 1 a.go:1]":             "info",
		"E0501 x":                                "error",
		"[error] 12#12: x":                       "error",
		"x [Warn] y":                             "warn",
		`time=x level=warning msg=y`:             "warn",
		`lvl="debug" x`:                          "debug",
		`{"a":1,"level":"FATAL"}`:                "fatal",
		`{"level":50,"time":1}`:                  "error",
		`{"severity": "NOTICE"}`:                 "info",
		`{"level":"x"}`:                          "",
		"no error here":                          "",
		"ERRORS":                                 "",
		"MY_ERROR":                               "",
		"ERROR_CODE":                             "",
		"Information":                            "",
		"":                                       "",
		strings.Repeat("x ", 60) + "ERROR":       "",
	} {
		if got := Level([]byte(in)); got != want {
			t.Errorf("Level(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "abc", "12345678\"", "1234567\x00\xff", "é\xe9é", "\\\\\\\\\\\\\\\\x\x1f", "aaaaaaaa\x80\"\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out := AppendEscaped([]byte(`"`), in)
		out = append(out, '"')
		var got string
		if err := json.Unmarshal(out, &got); err != nil || !utf8.Valid(out) {
			t.Fatalf("%q becomes %q: %v", in, out, err)
		}
		var want strings.Builder
		for i := 0; i < len(in); {
			r, n := utf8.DecodeRune(in[i:])
			if r == utf8.RuneError && n == 1 {
				want.WriteString(`\x` + string(hexDigits[in[i]>>4]) + string(hexDigits[in[i]&15]))
			} else {
				want.Write(in[i : i+n])
			}
			i += n
		}
		if got != want.String() {
			t.Fatalf("%q reads back as %q, want %q", in, got, want.String())
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"a":"b","pod":{"x":[1,"}"]}}`))
	f.Add([]byte(` {"a" : 1 , "b":"\"" } `))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, mode := range []string{"text", "nest", "merge"} {
			format := Default()
			format.Messages = mode
			p, err := format.Compile(&meta)
			if err != nil {
				t.Fatal(err)
			}
			out := p.Append(nil, &join.Record{Text: in}, "00")
			if !json.Valid(out) || !utf8.Valid(out) {
				t.Fatalf("%s: %q becomes %q", mode, in, out)
			}
		}
		Level(in)
	})
}

func BenchmarkAppend(b *testing.B) {
	f := Default()
	p, _ := f.Compile(&meta)
	msg := []byte(`2024-05-01 10:00:00,123 INFO [http-nio-8080-exec-3] c.e.s.OrderController - order 123456 created for "customer 42" in 17 ms`)
	r := join.Record{Text: msg, Time: when}
	buf := p.Append(nil, &r, "00ff00ff00ff00ff")
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		r.Time += 1000
		buf = p.Append(buf[:0], &r, "00ff00ff00ff00ff")
	}
}
