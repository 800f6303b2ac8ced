package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/truesize/truesize/pkg/registry"
)

// viewdPrefix begins the name of every metric of truesize-viewd.
const viewdPrefix = "truesize_viewd_"

// dumpDeadline bounds a scrape's wait for truesize-viewd.
const dumpDeadline = time.Second

// Handler serves the metrics over HTTP. dump gets truesize-viewd's counters in
// the text format; where it cannot, or what it gets is not readable, the
// agent's own are served alone.
func (m *Metrics) Handler(dump func(context.Context) ([]byte, error)) http.Handler {
	viewd := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		ctx, cancel := context.WithTimeout(context.Background(), dumpDeadline)
		defer cancel()
		families, err := gather(ctx, dump)
		if err != nil {
			m.dumpErrors.Inc()
			return nil, nil // counted: it must not cost the agent's own
		}
		return families, nil
	})
	return promhttp.HandlerFor(prometheus.Gatherers{viewd, m.registry}, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		Registry:      m.registry,
	})
}

// gather gets and checks a dump.
func gather(ctx context.Context, dump func(context.Context) ([]byte, error)) ([]*dto.MetricFamily, error) {
	data, err := dump(ctx)
	if err != nil {
		return nil, err
	}
	families, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("parse truesize-viewd's counters: %w", err)
	}
	// Gatherers checks what Prometheus would refuse, such as a series twice.
	once := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
	return prometheus.Gatherers{once}.Gather()
}

// parse reads the text format and keeps what is named as ours.
func parse(data []byte) ([]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	byName, err := parser.TextToMetricFamilies(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var families []*dto.MetricFamily
	for name, f := range byName {
		if !strings.HasPrefix(name, viewdPrefix) {
			return nil, fmt.Errorf("metric %.64q is not truesize-viewd's", name)
		}
		families = append(families, f)
	}
	return families, nil
}

func isNotFound(err error) bool { return errors.Is(err, registry.ErrNotFound) }
