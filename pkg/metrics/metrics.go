// Package metrics is the agent's face to Prometheus: a registry of its own,
// what it counts, and the counters of the view's server beside them.
//
// docs/metrics.md lists them. It imports pkg/inject, pkg/registry and
// pkg/size; the packages that it observes do not import it.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/version"
)

// Metrics counts what the agent does. Its methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry

	injections    *prometheus.CounterVec
	skips         *prometheus.CounterVec
	omissions     *prometheus.CounterVec
	warnings      prometheus.Counter
	requests      *prometheus.HistogramVec
	connected     prometheus.Gauge
	registrations prometheus.Counter
	errors        *prometheus.CounterVec
	viewUp        prometheus.Gauge
	viewStarts    prometheus.Counter
	viewsAttached prometheus.Counter
	shimInstalled prometheus.Gauge
	dumpErrors    prometheus.Counter
}

// New returns metrics with everything at zero.
func New() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &Metrics{
		registry:   prometheus.NewPedanticRegistry(),
		injections: counters("truesize_injections_total", "Containers created, by what became of them: injected whole, injected in part, skipped by rule, or failed and created without.", "outcome"),
		skips:      counters("truesize_injection_skips_total", "Containers left alone when they were created, by reason.", "reason"),
		omissions:  counters("truesize_injection_omissions_total", "Parts left out of injections, by reason.", "reason"),
		warnings:   counter("truesize_input_warnings_total", "Annotations and variables of new containers that could not be used."),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "truesize_nri_request_duration_seconds",
			Help:    "How long requests of the container runtime took to handle.",
			Buckets: []float64{.0001, .00025, .0005, .001, .002, .004, .008, .016, .064, .25, 1},
		}, []string{"request"}),
		connected:     gauge("truesize_nri_connected", "Whether the agent is registered with the container runtime through NRI."),
		registrations: counter("truesize_nri_registrations_total", "Registrations with the container runtime that were completed."),
		errors:        counters("truesize_errors_total", "Operations that failed and were worked around or will be tried again.", "op"),
		viewUp:        gauge("truesize_view_up", "Whether the view answered when last asked."),
		viewStarts:    counter("truesize_view_starts_total", "How often this agent started truesize-viewd."),
		viewsAttached: counter("truesize_views_attached_total", "Containers created without the agent that got their view afterwards."),
		shimInstalled: gauge("truesize_shim_installed", "Whether the shim's object is installed and usable."),
		dumpErrors:    counter("truesize_view_scrape_errors_total", "Dumps of truesize-viewd's counters that could not be got or read."),
	}
	m.registry.MustRegister(
		m.injections, m.skips, m.omissions, m.warnings, m.requests, m.connected, m.registrations,
		m.errors, m.viewUp, m.viewStarts, m.viewsAttached, m.shimInstalled, m.dumpErrors, buildInfo(),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.zero()
	return m
}

// Outcomes of an injection.
const (
	injected = "injected"
	partial  = "partial"
	skipped  = "skipped"
	failed   = "failed"
)

// zero makes every known label value appear before it first counts, so that a
// rate over it sees the first event.
func (m *Metrics) zero() {
	for _, o := range []string{injected, partial, skipped, failed} {
		m.injections.WithLabelValues(o)
	}
	for _, s := range inject.Skips() {
		m.skips.WithLabelValues(string(s))
	}
	for _, r := range inject.Reasons() {
		m.omissions.WithLabelValues(string(r))
	}
}

// buildInfo is the customary constant of 1 whose labels tell the build.
func buildInfo() prometheus.Collector {
	v := version.Get()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "truesize_build_info",
		Help: "1, with the build of the agent in the labels.",
		ConstLabels: prometheus.Labels{
			"version": v.Version, "revision": v.Revision, "goversion": v.GoVersion,
		},
	}, func() float64 { return 1 })
}

// Register adds the metrics of a component that has a collector of its own.
func (m *Metrics) Register(c prometheus.Collector) { m.registry.MustRegister(c) }

// Injection counts the end of a container's creation.
func (m *Metrics) Injection(a inject.Adjustment, isFailed bool) {
	outcome := injected
	switch {
	case isFailed:
		outcome = failed
	case a.Skip != "":
		outcome = skipped
		m.skips.WithLabelValues(string(a.Skip)).Inc()
	case len(a.Omissions) > 0:
		outcome = partial
	}
	m.injections.WithLabelValues(outcome).Inc()
	for _, o := range a.Omissions {
		m.omissions.WithLabelValues(string(o.Why)).Inc()
	}
}

// Warnings counts inputs of new containers that could not be used.
func (m *Metrics) Warnings(n int) { m.warnings.Add(float64(n)) }

// Request counts a request of the runtime.
func (m *Metrics) Request(name string, d time.Duration) {
	m.requests.WithLabelValues(name).Observe(d.Seconds())
}

// Connected notes whether the agent is registered with the runtime.
func (m *Metrics) Connected(ok bool) {
	if ok {
		m.registrations.Inc()
	}
	set(m.connected, ok)
}

// Error counts a failed operation.
func (m *Metrics) Error(op string) { m.errors.WithLabelValues(op).Inc() }

// ViewUp notes whether the view answers.
func (m *Metrics) ViewUp(ok bool) { set(m.viewUp, ok) }

// ViewStarted counts a start of truesize-viewd.
func (m *Metrics) ViewStarted() { m.viewStarts.Inc() }

// ViewAttached counts a container that got its view after its creation.
func (m *Metrics) ViewAttached() { m.viewsAttached.Inc() }

// ShimInstalled notes whether the shim is usable.
func (m *Metrics) ShimInstalled(ok bool) { set(m.shimInstalled, ok) }

func set(g prometheus.Gauge, ok bool) {
	if ok {
		g.Set(1)
	} else {
		g.Set(0)
	}
}
