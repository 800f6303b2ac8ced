// Package metrics shows the state of log forwarding as Prometheus metrics. The
// text of the alerts on them is in docs/logs.md.
package metrics

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/truesize/truesize/pkg/logs"
	"github.com/truesize/truesize/pkg/logs/sink"
)

// ContainersMax bounds how many containers have series of their own: those
// with the largest lag. The others are summed under container "other".
const ContainersMax = 100

// A Source tells the state; *logs.Component is one.
type Source interface {
	Status(context.Context) (logs.Status, error)
}

// A Collector collects from a source when it is scraped.
type Collector struct {
	source Source
	desc   map[string]*prometheus.Desc
}

// New returns a collector.
func New(s Source) *Collector {
	c := &Collector{source: s, desc: map[string]*prometheus.Desc{}}
	for name, m := range series {
		c.desc[name] = prometheus.NewDesc("truesize_logs_"+name, m.help, m.labels, nil)
	}
	return c
}

var perContainer = []string{"namespace", "pod", "container"}

// series are all metrics by name, without the prefix.
var series = map[string]struct {
	help   string
	labels []string
}{
	"up":                            {"1 when log forwarding answered for this scrape, else 0.", nil},
	"read_bytes_total":              {"Bytes read of log files.", nil},
	"read_lines_total":              {"Lines read of log files.", nil},
	"unparsed_lines_total":          {"Lines that are not in the runtime's format; they are sent as they are.", nil},
	"sent_records_total":            {"Records handed to the sink.", nil},
	"acknowledged_records_total":    {"Records that the sink acknowledged.", nil},
	"acknowledged_bytes_total":      {"Bytes of acknowledged log lines.", nil},
	"lag_bytes":                     {"Bytes in log files that are not acknowledged.", perContainer},
	"lag_seconds":                   {"Age in seconds of a container's oldest line that is not acknowledged, at most; 0 when all are.", perContainer},
	"containers":                    {"Containers whose logs are followed.", nil},
	"open_files":                    {"Log files that are open.", nil},
	"deleted_files":                 {"Deleted log files that are kept open until they are read.", nil},
	"deleted_bytes":                 {"Bytes of deleted log files that are kept open.", nil},
	"lost_lines_total":              {"Lines that were not delivered, by reason; 0 also where nobody can know their number.", []string{"reason"}},
	"lost_bytes_total":              {"Bytes of log files that were not delivered, by reason.", []string{"reason"}},
	"losses_total":                  {"Times that lines were not delivered, by reason.", []string{"reason"}},
	"refused_paths_total":           {"Paths in log directories that are not read: links out of them, devices and the like.", nil},
	"buffered_bytes":                {"Memory of records that are not acknowledged.", nil},
	"sink_records_total":            {"Records delivered by the sink.", nil},
	"sink_bytes_total":              {"Bytes of records delivered by the sink, before compression.", nil},
	"sink_wire_bytes_total":         {"Bytes sent by the sink, after compression.", nil},
	"sink_requests_total":           {"Requests sent by the sink.", nil},
	"sink_errors_total":             {"Failed attempts to deliver, by kind. They are repeated.", []string{"kind"}},
	"dead_letters_total":            {"Records that the sink refuses for good, by reason.", []string{"reason"}},
	"checkpoint_age_seconds":        {"Seconds for which progress has been waiting to be written; 0 when there is none.", nil},
	"checkpoint_write_errors_total": {"Failed writes of the checkpoint.", nil},
	"checkpoint_damaged":            {"1 when the checkpoint found at the start was damaged.", nil},
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.desc {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := c.source.Status(ctx)
	if err != nil {
		c.put(ch, "up", prometheus.GaugeValue, 0)
		return
	}
	gauge := func(name string, v float64, labels ...string) { c.put(ch, name, prometheus.GaugeValue, v, labels...) }
	count := func(name string, v float64, labels ...string) {
		c.put(ch, name, prometheus.CounterValue, v, labels...)
	}
	gauge("up", 1)
	count("read_bytes_total", float64(s.Totals.ReadBytes))
	count("read_lines_total", float64(s.Totals.ReadLines))
	count("unparsed_lines_total", float64(s.Totals.Unparsed))
	count("sent_records_total", float64(s.Totals.Sent))
	count("acknowledged_records_total", float64(s.Totals.Acked))
	count("acknowledged_bytes_total", float64(s.Totals.AckedBytes))
	gauge("containers", float64(len(s.Containers)))
	gauge("open_files", float64(s.OpenFiles))
	gauge("deleted_files", float64(s.DeletedFiles))
	gauge("deleted_bytes", float64(s.DeletedBytes))
	// Every reason from the start, at 0: of a series that begins with its first
	// loss Prometheus sees no increase.
	for _, reason := range logs.LossReasons() {
		l := s.Lost[reason]
		count("lost_lines_total", float64(l.Lines), reason)
		count("lost_bytes_total", float64(l.Bytes), reason)
		count("losses_total", float64(l.Events), reason)
	}
	count("refused_paths_total", float64(s.Refused))
	gauge("buffered_bytes", float64(s.BufferedBytes))
	count("sink_records_total", float64(s.Sink.Records))
	count("sink_bytes_total", float64(s.Sink.Bytes))
	count("sink_wire_bytes_total", float64(s.Sink.WireBytes))
	count("sink_requests_total", float64(s.Sink.Requests))
	for kind, n := range s.Sink.Errors {
		count("sink_errors_total", float64(n), kind)
	}
	for _, reason := range sink.DeadReasons() {
		count("dead_letters_total", float64(s.Sink.DeadLetters[reason]), reason)
	}
	age := 0.0
	if !s.PendingSince.IsZero() {
		age = s.Time.Sub(s.PendingSince).Seconds()
	}
	gauge("checkpoint_age_seconds", age)
	count("checkpoint_write_errors_total", float64(s.CheckpointErrors))
	damaged := 0.0
	if s.CheckpointDamaged {
		damaged = 1
	}
	gauge("checkpoint_damaged", damaged)
	c.containers(ch, s.Containers)
}

func (c *Collector) put(ch chan<- prometheus.Metric, name string, kind prometheus.ValueType, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(c.desc[name], kind, v, labels...)
}

// containers emits the lag of the containers with the largest one, and of the
// others together. A container's earlier starts count with it.
func (c *Collector) containers(ch chan<- prometheus.Metric, list []logs.ContainerStatus) {
	type name struct{ namespace, pod, container string }
	type lag struct {
		name
		bytes   int64
		seconds float64
	}
	byName := map[name]*lag{}
	var all []*lag
	for i := range list {
		s := &list[i]
		n := name{s.Namespace, s.Pod, s.Container}
		if byName[n] == nil {
			byName[n] = &lag{name: n}
			all = append(all, byName[n])
		}
		byName[n].bytes += s.LagBytes
		byName[n].seconds = max(byName[n].seconds, s.LagSeconds)
	}
	slices.SortStableFunc(all, func(a, b *lag) int { return cmp.Compare(b.bytes, a.bytes) })
	other := lag{name: name{"", "", "other"}}
	for i, l := range all {
		if i >= ContainersMax {
			other.bytes += l.bytes
			other.seconds = max(other.seconds, l.seconds)
			continue
		}
		c.lag(ch, l.bytes, l.seconds, l.namespace, l.pod, l.container)
	}
	if len(all) > ContainersMax {
		c.lag(ch, other.bytes, other.seconds, other.namespace, other.pod, other.container)
	}
}

func (c *Collector) lag(ch chan<- prometheus.Metric, bytes int64, seconds float64, labels ...string) {
	c.put(ch, "lag_bytes", prometheus.GaugeValue, float64(bytes), labels...)
	c.put(ch, "lag_seconds", prometheus.GaugeValue, seconds, labels...)
}
