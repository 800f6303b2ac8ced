// Package metrics shows the macvlan plugin's counters and the fill of its
// pools to Prometheus. The plugin itself does not import it.
package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/truesize/truesize/cni/counters"
	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/reconcile"
)

// A Source tells the counters; *reconcile.Reconciler is one.
type Source interface {
	Snapshot() (reconcile.Snapshot, error)
}

// A Collector reads a source when it is scraped.
type Collector struct{ source Source }

// New returns a collector.
func New(s Source) *Collector { return &Collector{source: s} }

var (
	up          = desc("up", "1 when the plugin's counters could be read for this scrape, else 0.")
	duration    = desc("request_duration_seconds", "How long calls of the plugin took, by verb.", "verb")
	failures    = desc("request_errors_total", "Calls of the plugin that failed, by verb and CNI error code.", "verb", "code")
	conflicts   = desc("address_conflicts_total", "Addresses found to be another host's.")
	collected   = desc("collected_objects_total", "Objects that were left behind and removed, by kind.", "kind")
	attachments = desc("attachments", "Pods attached to a network on this node.", "network")
	used        = desc("addresses_used", "Addresses in use of a network's pools on this node.", "network", "family")
	free        = desc("addresses_free", "Addresses free in a network's pools on this node.", "network", "family")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("truesize_cni_"+name, help, labels, nil)
}

var _ prometheus.Collector = (*Collector)(nil)

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{up, duration, failures, conflicts, collected, attachments, used, free} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s, err := c.source.Snapshot()
	if err != nil {
		ch <- prometheus.MustNewConstMetric(up, prometheus.GaugeValue, 0)
		return
	}
	ch <- prometheus.MustNewConstMetric(up, prometheus.GaugeValue, 1)
	ch <- prometheus.MustNewConstMetric(conflicts, prometheus.CounterValue, float64(s.Conflicts))
	for verb, op := range s.Ops {
		collectOp(ch, verb, op)
	}
	for kind, n := range s.Collected {
		ch <- prometheus.MustNewConstMetric(collected, prometheus.CounterValue, float64(n), kind)
	}
	for name, n := range s.Networks {
		ch <- prometheus.MustNewConstMetric(attachments, prometheus.GaugeValue, float64(n.Attachments), name)
		collectPool(ch, name, "ipv4", n.IPv4)
		collectPool(ch, name, "ipv6", n.IPv6)
	}
}

// collectOp shows one verb: the counters' buckets are not cumulative,
// Prometheus' are.
func collectOp(ch chan<- prometheus.Metric, verb string, op counters.Op) {
	buckets := make(map[float64]uint64, len(counters.Bounds()))
	var count uint64
	for i, n := range op.Buckets {
		count += n
		if i < len(counters.Bounds()) {
			buckets[counters.Bounds()[i]] = count
		}
	}
	ch <- prometheus.MustNewConstHistogram(duration, count, op.Sum.Seconds(), buckets, verb)
	for code, n := range op.Errors {
		ch <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(n), verb, strconv.FormatUint(uint64(code), 10))
	}
}

// collectPool shows a network's addresses of one family, if it has a pool of
// that family here.
func collectPool(ch chan<- prometheus.Metric, network, family string, u hostlocal.Usage) {
	if u == (hostlocal.Usage{}) {
		return
	}
	ch <- prometheus.MustNewConstMetric(used, prometheus.GaugeValue, float64(u.InUse), network, family)
	ch <- prometheus.MustNewConstMetric(free, prometheus.GaugeValue, float64(u.Free), network, family)
}
