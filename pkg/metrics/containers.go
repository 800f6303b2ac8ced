package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

// containers collects what the registry holds when it is scraped: other
// processes write it too.
type containers struct {
	dir      *registry.Dir
	sized    *prometheus.Desc
	skipped  *prometheus.Desc
	unusable *prometheus.Desc
}

// Watch adds the containers of a registry.
func (m *Metrics) Watch(dir *registry.Dir) {
	m.registry.MustRegister(&containers{
		dir:      dir,
		sized:    prometheus.NewDesc("truesize_containers", "Containers injected on this node, by the rule that gave their number of CPUs.", []string{"cpu_source"}, nil),
		skipped:  prometheus.NewDesc("truesize_containers_skipped", "Containers left alone on this node, by reason.", []string{"reason"}, nil),
		unusable: prometheus.NewDesc("truesize_registry_unusable_entries", "Entries of the registry that cannot be read.", nil, nil),
	})
}

func (c *containers) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.sized
	ch <- c.skipped
	ch <- c.unusable
}

func (c *containers) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	ids, err := c.dir.IDs()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.unusable, err)
		return
	}
	sized, skipped, unusable := c.count(ids)
	for s, n := range sized {
		gauge(c.sized, n, string(s))
	}
	for s, n := range skipped {
		gauge(c.skipped, n, string(s))
	}
	gauge(c.unusable, unusable)
}

// count reads the entries. Values that are not in the vocabulary, of another
// version's or a damaged entry, are not made labels of.
func (c *containers) count(ids []string) (sized map[size.Source]int, skipped map[inject.Skip]int, unusable int) {
	sized, skipped = make(map[size.Source]int), make(map[inject.Skip]int)
	for _, s := range []size.Source{size.FromAnnotation, size.FromEnv, size.FromLimit, size.FromRequest, size.FromCPUSet, size.FromHost} {
		sized[s] = 0
	}
	for _, s := range inject.Skips() {
		skipped[s] = 0
	}
	for _, id := range ids {
		entry, found := c.entry(id)
		if !found {
			continue
		}
		if !tally(entry, sized, skipped) {
			unusable++
		}
	}
	return sized, skipped, unusable
}

// entry reads one: nil where it cannot be used, not found where it has gone.
func (c *containers) entry(id string) (entry *registry.Container, found bool) {
	entry, err := c.dir.Get(id)
	if err != nil {
		return nil, !isNotFound(err)
	}
	return entry, true
}

func tally(entry *registry.Container, sized map[size.Source]int, skipped map[inject.Skip]int) bool {
	if entry == nil {
		return false
	}
	if entry.Skipped != "" {
		_, known := skipped[inject.Skip(entry.Skipped)]
		if known {
			skipped[inject.Skip(entry.Skipped)]++
		}
		return known
	}
	_, known := sized[entry.Decision.CPUSource]
	if known {
		sized[entry.Decision.CPUSource]++
	}
	return known
}
