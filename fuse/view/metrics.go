package view

import "github.com/truesize/truesize/fuse/promtext"

// WriteMetrics writes the view's counters and its server's.
func (v *View) WriteMetrics(w *promtext.Writer) {
	const (
		renders   = "truesize_viewd_renders_total"
		errors    = "truesize_viewd_render_errors_total"
		fallbacks = "truesize_viewd_fallback_reads_total"
	)
	w.Metric(renders, promtext.Counter, "Snapshots rendered, by file.")
	for file, p := range v.paths {
		w.Sample(renders, float64(v.stats.renders[file].Load()), "file", p)
	}
	w.Metric(errors, promtext.Counter, "Snapshots that could not be computed, by file and reason.")
	for file, p := range v.paths {
		for reason, name := range reasonNames {
			if n := v.stats.errors[file][reason].Load(); n > 0 || reason == otherReason {
				w.Sample(errors, float64(n), "file", p, "reason", name)
			}
		}
	}
	w.Metric(fallbacks, promtext.Counter, "Snapshots that show the host's file, by file.")
	for file, p := range v.paths {
		w.Sample(fallbacks, float64(v.stats.fallbacks[file].Load()), "file", p)
	}
	v.mu.Lock()
	bad := len(v.badEntries)
	v.mu.Unlock()
	w.One("truesize_viewd_bad_entries", promtext.Gauge, "Registry entries that cannot be used.", float64(bad))
	w.One("truesize_viewd_bad_entries_total", promtext.Counter, "Registry entries found unusable since the start.", float64(v.stats.badEntries.Load()))
	w.One("truesize_viewd_node_collisions_total", promtext.Counter, "Containers refused because their node ids are another's.", float64(v.stats.collisions.Load()))
	w.One("truesize_viewd_cpu_time_store_errors_total", promtext.Counter, "Containers whose CPU counters could not be stored.", float64(v.stats.counterErrors.Load()))
	w.One("truesize_viewd_load_samples_deferred_total", promtext.Counter, "Load samples put off because a round was over its budget.", float64(v.stats.samplesDeferred.Load()))
	w.One("truesize_viewd_load_sample_seconds_total", promtext.Counter, "Time spent on counting threads.", float64(v.stats.sampleNanos.Load())/1e9)
	v.Server.WriteMetrics(w)
}
