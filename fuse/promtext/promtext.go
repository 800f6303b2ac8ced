// Package promtext writes metrics in Prometheus' text format, version 0.0.4.
// It is what a small process needs instead of a client library, and imports
// the standard library only.
package promtext

import (
	"bytes"
	"strconv"
	"strings"
)

// A Kind is a metric's type.
type Kind string

const (
	Counter Kind = "counter"
	Gauge   Kind = "gauge"
)

// A Writer composes an exposition.
type Writer struct{ buf bytes.Buffer }

// Metric starts a metric. Its samples follow.
func (w *Writer) Metric(name string, kind Kind, help string) {
	w.buf.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + string(kind) + "\n")
}

// Sample writes a sample of the metric that was started, with labels as names
// and values in turn.
func (w *Writer) Sample(name string, value float64, labels ...string) {
	w.buf.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		w.buf.WriteByte("{,"[min(i, 1)])
		w.buf.WriteString(labels[i] + `="` + escape(labels[i+1]) + `"`)
	}
	if len(labels) > 1 {
		w.buf.WriteByte('}')
	}
	w.buf.WriteByte(' ')
	w.buf.WriteString(strconv.FormatFloat(value, 'g', -1, 64))
	w.buf.WriteByte('\n')
}

// One writes a metric that has one sample without labels.
func (w *Writer) One(name string, kind Kind, help string, value float64) {
	w.Metric(name, kind, help)
	w.Sample(name, value)
}

// Bytes returns the exposition.
func (w *Writer) Bytes() []byte { return w.buf.Bytes() }

func escape(v string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v)
}
