package metrics

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

const goodDump = `# HELP truesize_viewd_requests_total Requests of the kernel.
# TYPE truesize_viewd_requests_total counter
truesize_viewd_requests_total{op="read"} 7
`

// scrape returns what a scrape gets.
func scrape(t *testing.T, m *Metrics, dump func(context.Context) ([]byte, error)) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(dump).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// dumps returns a dump of that content.
func dumps(content string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(content), nil }
}

// want checks that the scrape has each line.
func want(t *testing.T, body string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}

// fixture is a registry with a container of each kind.
func fixture(t *testing.T) *registry.Dir {
	t.Helper()
	dir, err := registry.Open(filepath.Join(t.TempDir(), "containers"))
	if err != nil {
		t.Fatal(err)
	}
	sized := func(id string, source size.Source) *registry.Container {
		return &registry.Container{ID: id, Decision: size.Decision{Size: size.Size{CPUs: 1, Memory: 1}, CPUSource: source}}
	}
	skipped := sized("c", size.FromHost)
	skipped.Skipped = string(inject.SkipPrivileged)
	unknown := sized("d", size.FromHost)
	unknown.Skipped = "made-up\nx"
	for _, c := range []*registry.Container{sized("a", size.FromLimit), sized("b", size.FromLimit), skipped, unknown, sized("e", "made-up")} {
		if err := dir.Put(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir.Path(), "empty"), 0o700); err != nil { // not yet written
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir.Path(), "corrupt"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir.Path(), "corrupt", "container.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// exercised returns metrics that have counted everything once.
func exercised(t *testing.T) *Metrics {
	m := New()
	m.Watch(fixture(t))
	m.Injection(inject.Adjustment{}, false)
	m.Injection(inject.Adjustment{}, true)
	m.Injection(inject.Adjustment{Skip: inject.SkipHostPID}, false)
	m.Injection(inject.Adjustment{Omissions: []inject.Omission{{What: "shim", Why: inject.ShimMissing}}}, false)
	m.Warnings(3)
	m.Request("CreateContainer", time.Millisecond)
	m.Connected(true)
	m.Error("cgroup")
	m.ViewUp(true)
	m.ViewStarted()
	m.ViewAttached()
	m.ShimInstalled(true)
	return m
}

func TestScrape(t *testing.T) {
	body := scrape(t, exercised(t), dumps(goodDump))
	want(t, body,
		`truesize_containers{cpu_source="limit"} 2`,
		`truesize_containers{cpu_source="env"} 0`,
		`truesize_containers_skipped{reason="privileged"} 1`,
		`truesize_registry_unusable_entries 3`,
		`truesize_injections_total{outcome="injected"} 1`,
		`truesize_injections_total{outcome="failed"} 1`,
		`truesize_injections_total{outcome="skipped"} 1`,
		`truesize_injections_total{outcome="partial"} 1`,
		`truesize_injection_skips_total{reason="host-pid"} 1`,
		`truesize_injection_omissions_total{reason="shim-missing"} 1`,
		`truesize_injection_omissions_total{reason="view-silent"} 0`,
		`truesize_input_warnings_total 3`,
		`truesize_nri_request_duration_seconds_count{request="CreateContainer"} 1`,
		`truesize_nri_request_duration_seconds_bucket{request="CreateContainer",le="0.002"} 1`,
		`truesize_nri_connected 1`,
		`truesize_nri_registrations_total 1`,
		`truesize_errors_total{op="cgroup"} 1`,
		`truesize_view_up 1`,
		`truesize_view_starts_total 1`,
		`truesize_views_attached_total 1`,
		`truesize_shim_installed 1`,
		`truesize_view_scrape_errors_total 0`,
		`truesize_viewd_requests_total{op="read"} 7`,
	)
	for _, bad := range []string{"made-up", "cpu_source=\"\""} {
		if strings.Contains(body, bad) {
			t.Errorf("a damaged entry made the label %q", bad)
		}
	}
}

func TestStatesGoDown(t *testing.T) {
	m := exercised(t)
	m.Connected(false)
	m.ViewUp(false)
	m.ShimInstalled(false)
	want(t, scrape(t, m, dumps("")), "truesize_nri_connected 0", "truesize_view_up 0", "truesize_shim_installed 0",
		"truesize_nri_registrations_total 1")
}

func TestLint(t *testing.T) {
	m := exercised(t)
	body := scrape(t, m, dumps(goodDump))
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A dump that cannot be had or read is counted and costs nothing else.
func TestBadDumps(t *testing.T) {
	for _, tt := range []struct {
		name string
		dump func(context.Context) ([]byte, error)
	}{
		{"absent", func(context.Context) ([]byte, error) { return nil, errors.New("test") }},
		{"garbage", dumps("\x00\xff{")},
		{"cut", dumps(goodDump[:len(goodDump)-6])},
		{"the agent's names", dumps("truesize_view_up 7\n")},
		{"anybody's names", dumps("go_goroutines 7\n")},
		{"a series twice", dumps(goodDump + "truesize_viewd_requests_total{op=\"read\"} 8\n")},
		{"no number", dumps("truesize_viewd_x seven\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := exercised(t)
			scrape(t, m, tt.dump)
			body := scrape(t, m, dumps(goodDump))
			want(t, body, "truesize_view_scrape_errors_total 1", "truesize_view_up 1", `truesize_viewd_requests_total{op="read"} 7`)
		})
	}
}

func TestDumpIsBoundedInTime(t *testing.T) {
	m := New()
	scrape(t, m, func(ctx context.Context) ([]byte, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the dump may take for ever")
		}
		return nil, nil
	})
}

// The documentation has every metric.
func TestDocumentation(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(scrape(t, exercised(t), dumps(""))) {
		name, ok := strings.CutPrefix(line, "# TYPE truesize_")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, " ")
		if !strings.Contains(string(doc), "\n| `truesize_"+name+"` |") {
			t.Errorf("docs/metrics.md has no truesize_%s", name)
		}
	}
}

// The metrics are of this object, not of the process.
func TestTwoInstances(t *testing.T) {
	a, b := New(), New()
	a.Warnings(1)
	want(t, scrape(t, b, dumps("")), "truesize_input_warnings_total 0")
}
