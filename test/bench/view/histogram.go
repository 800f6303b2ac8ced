package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A histogram adds up one Prometheus histogram over several processes. The
// keys are the buckets' upper bounds, in seconds; the values are cumulative.
type histogram map[float64]int64

// add adds sign times the series of name whose labels contain label, from a
// dump in Prometheus' text format.
func (h histogram) add(dump, name, label string, sign int64) error {
	found := false
	for line := range strings.Lines(dump) {
		if !strings.HasPrefix(line, name+"_bucket{") || !strings.Contains(line, label) {
			continue
		}
		_, after, _ := strings.Cut(line, `le="`)
		le, _, _ := strings.Cut(after, `"`)
		bound, err := strconv.ParseFloat(le, 64)
		if err != nil {
			return fmt.Errorf("bucket of %s: %w", name, err)
		}
		fields := strings.Fields(line)
		n, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
		if err != nil {
			return fmt.Errorf("bucket of %s: %w", name, err)
		}
		h[bound] += sign * n
		found = true
	}
	if !found {
		return fmt.Errorf("no histogram %s with %s in the agent's metrics", name, label)
	}
	return nil
}

// count is the number of observations.
func (h histogram) count() int64 { return h[math.Inf(1)] }

// within is the least upper bound of at least the share p of the
// observations, in seconds.
func (h histogram) within(p float64) float64 {
	bounds := make([]float64, 0, len(h))
	for b := range h {
		bounds = append(bounds, b)
	}
	slices.Sort(bounds)
	for _, b := range bounds {
		if float64(h[b]) >= p*float64(h.count()) {
			return b
		}
	}
	return math.Inf(1)
}
