package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/truesize/truesize/pkg/version"
)

// listeners are where the agent answers: the configured address, and a socket
// in the run directory where the CLI finds it whatever that address is.
type listeners []net.Listener

func (a *agent) listen() (ls listeners, err error) {
	defer func() {
		if err != nil {
			ls.close()
		}
	}()
	tcp, err := net.Listen("tcp", a.cfg.MetricsAddress)
	if err != nil {
		return ls, fmt.Errorf("serve metrics: %w: choose another metrics.address", err)
	}
	ls = append(ls, tcp)
	path := filepath.Join(a.cfg.RunDir, "agent.sock")
	// The lock says that no agent listens there: it is one's that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return ls, fmt.Errorf("serve the CLI: %w", err)
	}
	unix, err := net.Listen("unix", path)
	if err != nil {
		return ls, fmt.Errorf("serve the CLI: %w", err)
	}
	return append(ls, unix), nil
}

func (ls listeners) close() {
	for _, l := range ls {
		l.Close()
	}
}

// serveHTTP answers on l until ctx ends, and returns ctx's error.
func (a *agent) serveHTTP(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(l)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("serve %s: %w", l.Addr(), err)
}

func (a *agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.metrics.Handler(a.view.Dump))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", a.readyz)
	return mux
}

// readyz answers 200 when the agent is ready, else 503, with the reasons.
func (a *agent) readyz(w http.ResponseWriter, _ *http.Request) {
	list, ready := a.health.checks()
	w.Header().Set("Content-Type", "application/json")
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(struct {
		Ready   bool     `json:"ready"`
		Version string   `json:"version"`
		Checks  []check  `json:"checks"`
		Off     []string `json:"off,omitempty"`
	}{ready, version.Get().String(), list, a.off()}) // an error is the client's going away
}

// off returns the parts that the configuration switches off: that they are not
// there is no fault.
func (a *agent) off() (parts []string) {
	if !a.cfg.View {
		parts = append(parts, "view")
	}
	if !a.cfg.Shim {
		parts = append(parts, "shim")
	}
	return parts
}
