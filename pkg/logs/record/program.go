package record

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/truesize/truesize/pkg/logs/join"
)

// opKind says what a step of a program writes behind its constant text.
type opKind uint8

const (
	opNone     opKind = iota // the constant only
	opTime                   // by the clock
	opNanos                  // unix nanoseconds
	opText                   // the message, escaped
	opBare                   // the message as it is
	opMessage                // the message's field, its name included
	opLevel                  // the level, bare
	opSeverity               // OTLP's number of the level
	opStream
	opFileID
	opOffset
	opIfLevel // opIf…: the field's constant and value, or nothing
	opIfSplit
	opIfContinued
	opIfUnparsed
	opKeepSplit // opKeep…: true or false
	opKeepContinued
	opKeepUnparsed
)

type op struct {
	lit  string
	kind opKind
}

// A Program writes the records of one container. It is for one goroutine.
type Program struct {
	ops    []op
	object bool // the record starts with a comma that becomes its '{'
	clock  *clock

	mode        string // of messages that are JSON
	messageName string // the message's field as it is written: "name"
	nestName    string
	prefix      string
	own         map[string]bool // the record's own names, for merging
}

// Compile makes the program of a container. A format without fields has those
// of [Default].
func (f *Format) Compile(m *Meta) (*Program, error) {
	if err := f.Validate(); err != nil {
		return nil, fmt.Errorf("log format: %w", err)
	}
	c, err := newClock(f.TimeLayout, f.TimeZone)
	if err != nil {
		return nil, err
	}
	p := &Program{clock: c, mode: f.Messages}
	switch f.Type {
	case "raw":
		p.ops = []op{{"", opBare}}
	case "otlp-json":
		p.ops = otlp(f, m)
	default:
		p.object = true
		p.json(f, m)
	}
	p.ops = merge(p.ops)
	return p, nil
}

func (p *Program) json(f *Format, m *Meta) {
	fields := f.Fields
	if len(fields) == 0 {
		fields = Default().Fields
	}
	p.nestName, p.prefix = quote(orElse(f.NestField, "json")), orElse(f.MergePrefix, "message.")
	p.own = map[string]bool{}
	for _, x := range fields {
		if x.Source != "message" {
			p.own[x.Name] = true
		}
		p.field(x, m)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Fixed)) {
		p.own[name] = true
		p.add(","+quote(name)+":"+quote(f.Fixed[name]), opNone)
	}
	p.add("}", opNone)
}

func (p *Program) add(lit string, kind opKind) { p.ops = append(p.ops, op{lit, kind}) }

// field adds the steps of one field of a JSON record.
func (p *Program) field(x Field, m *Meta) {
	name := "," + quote(x.Name) + ":"
	text := func(kind opKind) {
		p.add(name+`"`, kind)
		p.add(`"`, opNone)
	}
	flag := func(sometimes, always opKind) {
		if x.Keep {
			p.add(name, always)
		} else {
			p.add(name, sometimes)
		}
	}
	switch x.Source {
	case "time":
		if p.clock.quoted() {
			text(opTime)
		} else {
			p.add(name, opTime)
		}
	case "message":
		p.messageName = name
		p.add("", opMessage)
	case "level":
		if x.Keep {
			text(opLevel)
		} else {
			p.add(name+`"`, opIfLevel)
		}
	case "stream":
		text(opStream)
	case "fileID":
		text(opFileID)
	case "offset", "sequence":
		p.add(name, opOffset)
	case "position":
		p.add(name+`"`, opFileID)
		p.add(":", opOffset)
		p.add(`"`, opNone)
	case "split":
		flag(opIfSplit, opKeepSplit)
	case "continued":
		flag(opIfContinued, opKeepContinued)
	case "unparsed":
		flag(opIfUnparsed, opKeepUnparsed)
	default:
		if v, ok := constant(x.Source, m); ok || x.Keep {
			p.add(name+v, opNone)
		}
	}
}

// constant returns a source that is the same for all of a container's records
// as JSON, and whether it says anything.
func constant(source string, m *Meta) (string, bool) {
	text := func(s string) (string, bool) { return quote(s), s != "" }
	if k, key, ok := strings.Cut(source, ":"); ok {
		if k == "label" {
			return text(m.Labels[key])
		}
		return text(m.Annotations[key])
	}
	switch source {
	case "namespace":
		return text(m.Namespace)
	case "pod":
		return text(m.Pod)
	case "podUID":
		return text(m.PodUID)
	case "podIP":
		return text(m.PodIP)
	case "container":
		return text(m.Container)
	case "containerID":
		return text(m.ContainerID)
	case "image":
		return text(m.Image)
	case "app":
		return text(m.AppName())
	case "node":
		return text(m.Node)
	case "nodeIP":
		return text(m.NodeIP)
	case "file":
		return text(m.File)
	case "restart":
		return strconv.Itoa(m.Restart), true
	case "labels":
		return object(m.Labels), len(m.Labels) > 0
	}
	return `""`, false
}

// AppName returns the app's name by the rule of the source "app".
func (m *Meta) AppName() string {
	for _, s := range []string{m.App, m.Labels["app.kubernetes.io/name"], m.Labels["app"], m.Labels["k8s-app"]} {
		if s != "" {
			return s
		}
	}
	return m.Container
}

func object(m map[string]string) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b strings.Builder
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(k) + ":" + quote(m[k]))
	}
	b.WriteByte('}')
	return b.String()
}

func quote(s string) string { return string(appendString(nil, s)) }

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// merge joins constants that follow each other.
func merge(ops []op) []op {
	var out []op
	for _, o := range ops {
		if n := len(out); n > 0 && out[n-1].kind == opNone && !conditional(o.kind) {
			out[n-1] = op{out[n-1].lit + o.lit, o.kind}
			continue
		}
		out = append(out, o)
	}
	return out
}

// conditional says that an op writes its constant only sometimes, or none.
func conditional(k opKind) bool { return k >= opIfLevel && k <= opIfUnparsed || k == opMessage }

// Append writes r, which was read from the file of an id, behind dst.
func (p *Program) Append(dst []byte, r *join.Record, fileID string) []byte {
	start := len(dst)
	for i := range p.ops {
		o := &p.ops[i]
		if o.kind < opIfLevel && o.kind != opMessage {
			dst = append(dst, o.lit...)
		}
		switch o.kind {
		case opTime:
			dst = p.clock.append(dst, r.Time)
		case opNanos:
			dst = strconv.AppendInt(dst, r.Time, 10)
		case opText:
			dst = AppendEscaped(dst, r.Text)
		case opBare:
			dst = append(dst, r.Text...)
		case opMessage:
			dst = p.message(dst, r.Text)
		case opLevel:
			dst = append(dst, Level(r.Text)...)
		case opSeverity:
			dst = strconv.AppendInt(dst, severity(Level(r.Text)), 10)
		case opStream:
			dst = append(dst, r.Stream.String()...)
		case opFileID:
			dst = append(dst, fileID...)
		case opOffset:
			dst = strconv.AppendInt(dst, r.Pos.Offset, 10)
		case opIfLevel:
			if l := Level(r.Text); l != "" {
				dst = append(append(append(dst, o.lit...), l...), '"')
			}
		case opIfSplit, opKeepSplit:
			dst = appendFlag(dst, o, r.Split)
		case opIfContinued, opKeepContinued:
			dst = appendFlag(dst, o, r.Continued)
		case opIfUnparsed, opKeepUnparsed:
			dst = appendFlag(dst, o, r.Unparsed)
		}
	}
	if p.object {
		if dst[start] == '}' { // not one field
			return append(dst[:start], '{', '}')
		}
		dst[start] = '{'
	}
	return dst
}

func appendFlag(dst []byte, o *op, set bool) []byte {
	switch {
	case set:
		return append(append(dst, o.lit...), "true"...)
	case o.kind >= opKeepSplit:
		return append(append(dst, o.lit...), "false"...)
	}
	return dst
}

func (p *Program) message(dst, text []byte) []byte {
	if p.mode == "nest" || p.mode == "merge" {
		if out, ok := p.structured(dst, text); ok {
			return out
		}
	}
	dst = append(dst, p.messageName...)
	dst = append(dst, '"')
	dst = AppendEscaped(dst, text)
	return append(dst, '"')
}
