package metrics

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/truesize/truesize/pkg/logs"
	"github.com/truesize/truesize/pkg/logs/sink"
)

type fixed struct {
	s   logs.Status
	err error
}

func (f fixed) Status(context.Context) (logs.Status, error) { return f.s, f.err }

func sample() logs.Status {
	now := time.Unix(1000, 0)
	s := logs.Status{
		Time: now, PendingSince: now.Add(-3 * time.Second), CheckpointPending: true, CheckpointErrors: 2,
		Totals: logs.Totals{ReadBytes: 100, ReadLines: 10, Sent: 9, Acked: 8, AckedBytes: 70},
		Lost:   map[string]logs.Loss{"deleted": {Events: 1, Bytes: 50, Lines: 5}},
		Sink:   sink.Stats{Records: 8, Errors: map[string]uint64{"connection": 4}, DeadLetters: map[string]uint64{"too-large": 1}},
	}
	for i := range ContainersMax + 20 {
		c := logs.ContainerStatus{LagBytes: int64(i), LagSeconds: float64(i)}
		c.Namespace, c.Pod, c.Container = "ns", fmt.Sprint("pod", i), "app"
		s.Containers = append(s.Containers, c)
	}
	return s
}

func TestCollect(t *testing.T) {
	c := New(fixed{s: sample()})
	if problems, err := testutil.CollectAndLint(c); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	if err := testutil.CollectAndCompare(c, strings.NewReader(`
# HELP truesize_logs_checkpoint_age_seconds Seconds for which progress has been waiting to be written; 0 when there is none.
# TYPE truesize_logs_checkpoint_age_seconds gauge
truesize_logs_checkpoint_age_seconds 3
# HELP truesize_logs_lost_lines_total Lines that were not delivered, by reason; 0 also where nobody can know their number.
# TYPE truesize_logs_lost_lines_total counter
truesize_logs_lost_lines_total{reason="deleted"} 5
truesize_logs_lost_lines_total{reason="gone"} 0
truesize_logs_lost_lines_total{reason="rate-limit"} 0
truesize_logs_lost_lines_total{reason="truncated"} 0
truesize_logs_lost_lines_total{reason="unreadable"} 0
# HELP truesize_logs_up 1 when log forwarding answered for this scrape, else 0.
# TYPE truesize_logs_up gauge
truesize_logs_up 1
`), "truesize_logs_checkpoint_age_seconds", "truesize_logs_lost_lines_total", "truesize_logs_up"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(c, "truesize_logs_lag_bytes"); n != ContainersMax+1 {
		t.Errorf("%d series of lag, want %d and one for the others", n, ContainersMax)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := 0.0
	for _, f := range families {
		if f.GetName() == "truesize_logs_lag_bytes" {
			for _, m := range f.GetMetric() {
				got += m.GetGauge().GetValue()
			}
		}
	}
	if want := float64((ContainersMax + 20) * (ContainersMax + 19) / 2); got != want {
		t.Errorf("lag adds up to %v, want %v", got, want)
	}
}

func TestCollectFails(t *testing.T) {
	c := New(fixed{err: errors.New("stopped")})
	if err := testutil.CollectAndCompare(c, strings.NewReader(`
# HELP truesize_logs_up 1 when log forwarding answered for this scrape, else 0.
# TYPE truesize_logs_up gauge
truesize_logs_up 0
`)); err != nil {
		t.Error(err)
	}
}

// The alerts are on metrics that exist.
func TestAlerts(t *testing.T) {
	data, err := os.ReadFile("../../../deploy/logs/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`truesize_logs_\w+`).FindAllString(string(data), -1)
	if len(names) < 5 {
		t.Errorf("only %d metrics in the alerts", len(names))
	}
	for _, n := range names {
		if _, ok := series[strings.TrimPrefix(n, "truesize_logs_")]; !ok {
			t.Errorf("%s is no metric", n)
		}
	}
}
