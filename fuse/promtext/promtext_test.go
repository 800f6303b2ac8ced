package promtext

import "testing"

func TestWriter(t *testing.T) {
	w := new(Writer)
	w.Metric("a_total", Counter, "Things.")
	w.Sample("a_total", 3, "file", "proc/stat", "reason", `a "b"\`+"\n")
	w.Sample("a_total", 1e9)
	w.One("b", Gauge, "Level.", 0.5)
	want := `# HELP a_total Things.
# TYPE a_total counter
a_total{file="proc/stat",reason="a \"b\"\\\n"} 3
a_total 1e+09
# HELP b Level.
# TYPE b gauge
b 0.5
`
	if got := string(w.Bytes()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
