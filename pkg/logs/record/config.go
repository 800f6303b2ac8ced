// Package record writes log records in the format an admin configures: JSON
// by a mapping of field names to sources, the bare line, or OTLP's JSON.
//
// A [Format] is checked and compiled once for each container into a [Program],
// a list of constant pieces and of values that change from line to line, so a
// record costs a few copies. The package is pure.
package record

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Format is the configuration of a record format. docs/logs.md describes it
// field by field.
type Format struct {
	// Type is "json" (the default), "raw" or "otlp-json".
	Type string `json:"type,omitempty"`
	// TimeLayout is how times are written: a layout of Go's package time, or
	// rfc3339, rfc3339milli (the default), rfc3339nano, unix, unixMilli,
	// unixMicro or unixNano (numbers).
	TimeLayout string `json:"timeLayout,omitempty"`
	// TimeZone is of the tz database; UTC by default, "Local" is the node's.
	TimeZone string `json:"timeZone,omitempty"`
	// Fields are a JSON record's fields, in their order.
	Fields []Field `json:"fields,omitempty"`
	// Fixed are further fields (of OTLP: resource attributes) of fixed text.
	Fixed map[string]string `json:"fixed,omitempty"`
	// Messages says what is done with a message that is a JSON object: "text"
	// (the default) leaves it a string, "nest" puts the object under
	// NestField, "merge" puts its members beside the record's own fields.
	Messages string `json:"messages,omitempty"`
	// NestField is the object's field with "nest"; "json" by default.
	NestField string `json:"nestField,omitempty"`
	// MergePrefix is put before the name of a merged member that the record
	// has already; "message." by default.
	MergePrefix string `json:"mergePrefix,omitempty"`
}

// A Field maps a source to a field of the record.
type Field struct {
	// Name is the field's name.
	Name string `json:"name"`
	// Source is one of Sources, or "label:KEY", "annotation:KEY" of the pod.
	Source string `json:"source"`
	// Keep writes the field even when its value is empty or false; otherwise
	// it is left out.
	Keep bool `json:"keep,omitempty"`
}

// Sources are the names a [Field] may take its value from, with their meaning.
func Sources() map[string]string {
	return map[string]string{
		"time":        "when the container wrote the line, by the runtime's clock",
		"message":     "the line",
		"level":       "the level the line says of itself: trace, debug, info, warn, error, fatal",
		"stream":      "stdout or stderr",
		"namespace":   "the pod's namespace",
		"pod":         "the pod's name",
		"podUID":      "the pod's uid",
		"podIP":       "the pod's first address",
		"container":   "the container's name",
		"containerID": "the runtime's id of the container",
		"image":       "the container's image, as the pod names it",
		"app":         "the app: label app.kubernetes.io/name, app or k8s-app, else the container's name",
		"node":        "the node's name",
		"nodeIP":      "the node's address",
		"labels":      "the pod's labels, an object",
		"file":        "the log file's path, relative to its root, when it was first seen",
		"fileID":      "the log file's id, 16 hexadecimal digits: the same after rotation, gzip and restarts",
		"offset":      "where in the file the line starts, a number",
		"position":    "fileID:offset, which no two records share: equal ones are duplicates",
		"sequence":    "the offset; grows with every record of a file",
		"restart":     "how often the kubelet restarted the container, a number",
		"split":       "true when the line was too long and goes on in the next record",
		"continued":   "true when the line began in the record before",
		"unparsed":    "true when the line is not in the runtime's format; the message is all of it",
	}
}

// Default is the format where none is configured; deploy/logs documents it.
func Default() Format {
	return Format{
		Type: "json",
		Fields: []Field{
			{Name: "@timestamp", Source: "time"},
			{Name: "level", Source: "level"},
			{Name: "app", Source: "app"},
			{Name: "host", Source: "node"},
			{Name: "ip", Source: "podIP"},
			{Name: "namespace", Source: "namespace"},
			{Name: "pod", Source: "pod"},
			{Name: "container", Source: "container"},
			{Name: "stream", Source: "stream"},
			{Name: "message", Source: "message", Keep: true},
			{Name: "split", Source: "split"},
			{Name: "continued", Source: "continued"},
			{Name: "unparsed", Source: "unparsed"},
			{Name: "file", Source: "fileID"},
			{Name: "sequence", Source: "sequence"},
		},
	}
}

// Meta is what is the same for all records of a container.
type Meta struct {
	Namespace, Pod, PodUID, PodIP string
	Container, ContainerID, Image string
	App, Node, NodeIP             string
	File                          string
	Restart                       int
	Labels, Annotations           map[string]string
}

// Validate says what is wrong with a format, every fault in one error.
func (f *Format) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{"", "json", "raw", "otlp-json"}, f.Type) {
		bad("type %q: want json, raw or otlp-json", f.Type)
	}
	if !slices.Contains([]string{"", "text", "nest", "merge"}, f.Messages) {
		bad("messages %q: want text, nest or merge", f.Messages)
	}
	if _, err := newClock(f.TimeLayout, f.TimeZone); err != nil {
		errs = append(errs, err)
	}
	names := map[string]bool{}
	for name := range f.Fixed {
		names[name] = true
	}
	message := false
	for i, x := range f.Fields {
		switch {
		case x.Name == "":
			bad("fields[%d]: it has no name", i)
		case names[x.Name]:
			bad("fields[%d]: the name %q is there twice", i, x.Name)
		case !knownSource(x.Source):
			bad("fields[%d] %s: unknown source %q: docs/logs.md lists them", i, x.Name, x.Source)
		}
		names[x.Name] = true
		message = message || x.Source == "message"
	}
	if (f.Type == "" || f.Type == "json") && len(f.Fields) > 0 && !message {
		bad("fields: none has the source message: the log lines would not be sent")
	}
	return errors.Join(errs...)
}

func knownSource(s string) bool {
	if k, v, ok := strings.Cut(s, ":"); ok {
		return (k == "label" || k == "annotation") && v != ""
	}
	_, ok := Sources()[s]
	return ok
}
