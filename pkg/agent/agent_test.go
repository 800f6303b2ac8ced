package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/config"
	"github.com/truesize/truesize/pkg/metrics"
)

// testConfig is of an agent alone: no runtime, and a view whose server is not
// there.
func testConfig(t *testing.T) config.Config {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := config.Default()
	cfg.RunDir = filepath.Join(dir, "run")
	cfg.StateDir = filepath.Join(dir, "state")
	cfg.NRISocket = filepath.Join(dir, "nri.sock")
	cfg.MetricsAddress = l.Addr().String()
	cfg.ViewBinary = filepath.Join(dir, "viewd")
	return cfg
}

// runAgent runs an agent until stop is called, which checks how it ended.
func runAgent(t *testing.T, cfg config.Config) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, slog.New(slog.DiscardHandler)) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Run did not return")
		}
	}
	t.Cleanup(stop)
	return stop
}

// get fetches a path, as soon as somebody answers.
func get(t *testing.T, client *http.Client, url string) (status int, body string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var resp *http.Response
		if resp, err = client.Get(url); err != nil {
			continue
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(data)
	}
	t.Fatal(err)
	return 0, ""
}

// overSocket returns a client of the agent's socket in its run directory.
func overSocket(cfg config.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(cfg.RunDir, "agent.sock"))
		},
	}}
}

func TestRunWithoutAnythingAround(t *testing.T) {
	cfg := testConfig(t)
	stop := runAgent(t, cfg)
	base := "http://" + cfg.MetricsAddress
	if status, body := get(t, http.DefaultClient, base+"/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	for _, client := range []*http.Client{http.DefaultClient, overSocket(cfg)} {
		status, body := get(t, client, base+"/readyz")
		var r struct {
			Ready  bool
			Checks []check
		}
		if err := json.Unmarshal([]byte(body), &r); err != nil || status != 503 || r.Ready || len(r.Checks) != 2 {
			t.Errorf("/readyz: %d %s, %v", status, body, err)
		}
	}
	if status, body := get(t, http.DefaultClient, base+"/metrics"); status != 200 ||
		!strings.Contains(body, "\ntruesize_nri_connected 0\n") || !strings.Contains(body, "\ntruesize_view_up 0\n") {
		t.Errorf("/metrics: %d %s", status, body)
	}
	if status, _ := get(t, http.DefaultClient, base+"/other"); status != 404 {
		t.Errorf("/other: %d", status)
	}
	stop()
	if _, err := os.Stat(filepath.Join(cfg.RunDir, "containers")); err != nil {
		t.Errorf("the registry went with the agent: %v", err)
	}
}

func TestOneAgentPerRunDirectory(t *testing.T) {
	cfg := testConfig(t)
	stop := runAgent(t, cfg)
	get(t, overSocket(cfg), "http://agent/healthz")
	second := cfg
	second.MetricsAddress = "127.0.0.1:0"
	if err := Run(t.Context(), second, slog.New(slog.DiscardHandler)); !errors.Is(err, errRunning) || !strings.Contains(err.Error(), cfg.RunDir) {
		t.Errorf("a second agent: %v", err)
	}
	// The first was not disturbed, and its end makes room.
	if status, _ := get(t, overSocket(cfg), "http://agent/healthz"); status != 200 {
		t.Errorf("status %d", status)
	}
	stop()
	runAgent(t, cfg)
	get(t, overSocket(cfg), "http://agent/healthz")
}

// What an agent that was killed leaves behind does not keep the next from
// starting.
func TestRunAfterAKill(t *testing.T) {
	cfg := testConfig(t)
	if err := os.MkdirAll(cfg.RunDir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(cfg.RunDir, "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	runAgent(t, cfg)
	get(t, overSocket(cfg), "http://agent/healthz")
}

func TestRunErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, edit := range map[string]func(*config.Config){
		"choose another metrics.address": func(c *config.Config) { c.MetricsAddress = busy.Addr().String() },
		"choose another --run-dir":       func(c *config.Config) { c.RunDir = file },
	} {
		cfg := testConfig(t)
		edit(&cfg)
		if err := Run(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func TestReadiness(t *testing.T) {
	errView := errors.New("view is down")
	for _, tt := range []struct {
		name     string
		withView bool
		change   func(*health)
		ready    bool
		note     string
	}{
		{"at first", true, func(*health) {}, false, "not asked yet"},
		{"registered only", true, func(h *health) { h.Connected(true) }, false, "not asked yet"},
		{"view only", true, func(h *health) { h.viewAnswered(nil) }, false, "not registered"},
		{"both", true, func(h *health) { h.Connected(true); h.viewAnswered(nil) }, true, "registered"},
		{"no view wanted", false, func(h *health) { h.Connected(true) }, true, "switched off"},
		{"runtime lost", true, func(h *health) { h.Connected(true); h.viewAnswered(nil); h.Connected(false) }, false, "not registered"},
		{"view lost", true, func(h *health) { h.Connected(true); h.viewAnswered(nil); h.viewAnswered(errView) }, false, "view is down"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &agent{health: newHealth(metrics.New(), tt.withView)}
			tt.change(a.health)
			w := httptest.NewRecorder()
			a.readyz(w, httptest.NewRequest("GET", "/readyz", nil))
			want := map[bool]int{true: 200, false: 503}[tt.ready]
			if w.Code != want || !strings.Contains(w.Body.String(), tt.note) {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
		})
	}
}

// The doctor takes for no fault what is switched off.
func TestReadinessTellsWhatIsOff(t *testing.T) {
	for want, cfg := range map[string]config.Config{
		`"off":["view"]`:        {Shim: true},
		`"off":["shim"]`:        {View: true},
		`"off":["view","shim"]`: {},
		`]}` + "\n":             {View: true, Shim: true},
	} {
		a := &agent{cfg: cfg, health: newHealth(metrics.New(), cfg.View)}
		w := httptest.NewRecorder()
		a.readyz(w, httptest.NewRequest("GET", "/readyz", nil))
		if body := w.Body.String(); !strings.Contains(body, want) || strings.Contains(body, `"off"`) != strings.Contains(want, "off") {
			t.Errorf("want %s: %s", want, body)
		}
	}
}

func TestViewArguments(t *testing.T) {
	cfg := config.Default()
	a := &agent{cfg: cfg, metrics: metrics.New()}
	want := []string{"--freshness", "50ms", "--log-level", "info"}
	if got := a.supervisor().Args; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	a.cfg.Prepare = false
	if got := a.supervisor().Args; !slices.Equal(got, append(want, "--prepare=false")) {
		t.Errorf("without preparing: %q", got)
	}
}

func TestHostFiles(t *testing.T) {
	files := hostFiles()
	if len(files) == 0 {
		t.Error("this kernel has none of the files")
	}
	for _, f := range files {
		if _, err := os.Stat(f.Path); err != nil {
			t.Error(err)
		}
	}
}

func TestLevelName(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "debug", slog.LevelInfo: "info", slog.LevelWarn: "warn", slog.LevelError: "error",
	} {
		if got := levelName(level); got != want {
			t.Errorf("%v is %s, want %s", level, got, want)
		}
	}
}
