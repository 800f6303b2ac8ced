package record

import (
	"maps"
	"slices"
	"strconv"
)

// otlp returns the steps of an OTLP LogsData message in JSON (OTLP 1.x,
// opentelemetry-proto, JSON Protobuf encoding) with one log record. Names of
// attributes are those of OpenTelemetry's semantic conventions.
func otlp(f *Format, m *Meta) []op {
	res := attributes{}
	res.text("service.name", m.AppName())
	res.text("host.name", m.Node)
	res.text("host.ip", m.NodeIP)
	res.text("k8s.node.name", m.Node)
	res.text("k8s.namespace.name", m.Namespace)
	res.text("k8s.pod.name", m.Pod)
	res.text("k8s.pod.uid", m.PodUID)
	res.text("k8s.pod.ip", m.PodIP)
	res.text("k8s.container.name", m.Container)
	res.text("container.id", m.ContainerID)
	res.text("container.image.name", m.Image)
	res.raw("k8s.container.restart_count", `{"intValue":"`+strconv.Itoa(m.Restart)+`"}`)
	for _, k := range slices.Sorted(maps.Keys(m.Labels)) {
		res.text("k8s.pod.label."+k, m.Labels[k])
	}
	for _, k := range slices.Sorted(maps.Keys(f.Fixed)) {
		res.text(k, f.Fixed[k])
	}
	attr := func(key string) string { return `,{"key":"` + key + `","value":{` }
	return []op{
		{`{"resourceLogs":[{"resource":{"attributes":[` + string(res) + `]},"scopeLogs":[{"scope":{"name":"truesize"},"logRecords":[{"timeUnixNano":"`, opNanos},
		{`","severityNumber":`, opSeverity},
		{`,"severityText":"`, opLevel},
		{`","body":{"stringValue":"`, opText},
		{`"},"attributes":[{"key":"log.iostream","value":{"stringValue":"`, opStream},
		{`"}}` + attr("log.file.id") + `"stringValue":"`, opFileID},
		{`"}}` + attr("log.file.offset") + `"intValue":"`, opOffset},
		{`"}}`, opNone},
		{attr("log.split") + `"boolValue":`, opKeepSplit},
		{`}}` + attr("log.continued") + `"boolValue":`, opKeepContinued},
		{`}}]}]}]}]}`, opNone},
	}
}

// attributes is a list of OTLP attributes in JSON, without its brackets.
type attributes []byte

func (a *attributes) text(key, value string) {
	if value != "" {
		a.raw(key, `{"stringValue":`+quote(value)+`}`)
	}
}

func (a *attributes) raw(key, value string) {
	if len(*a) > 0 {
		*a = append(*a, ',')
	}
	*a = append(*a, `{"key":`+quote(key)+`,"value":`+value+`}`...)
}

// severity returns OTLP's severity number of a level, 0 for none.
func severity(level string) int64 {
	switch level {
	case "trace":
		return 1
	case "debug":
		return 5
	case "info":
		return 9
	case "warn":
		return 13
	case "error":
		return 17
	case "fatal":
		return 21
	}
	return 0
}
