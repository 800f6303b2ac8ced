package stack

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// agentConfig is the agent's configuration: the defaults, in the stack's
// directory.
const agentConfig = `runDir: {{.Dir}}/truesize
stateDir: {{.Dir}}/truesize-state
log: {level: info}
metrics: {address: "{{.Metrics}}"}
nri: {socket: {{.NRISocket}}}
view: {binary: {{.Viewd}}}
`

// PodLogs returns the directory of the pods' logs: /var/log/pods on a node.
func (s *Stack) PodLogs() string { return s.path("podlogs") }

// RunDir returns the run directory of the stack's agent.
func (s *Stack) RunDir() string { return s.path("truesize") }

// mountRunDir gives the agent a run directory as a node has one: a tmpfs.
func (s *Stack) mountRunDir() error {
	if err := os.Mkdir(s.RunDir(), 0o755); err != nil {
		return fmt.Errorf("create the run directory: %w", err)
	}
	if err := unix.Mount("tmpfs", s.RunDir(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755"); err != nil {
		return fmt.Errorf("mount the run directory: %w", err)
	}
	return nil
}

// MetricsAddress returns the agent's host:port.
func (s *Stack) MetricsAddress() string { return s.metrics }

// StartAgent starts truesized and waits until it is ready: registered with
// containerd, and its view answering.
func (s *Stack) StartAgent(ctx context.Context) error { return s.StartAgentWith(ctx, "") }

// StartAgentWith is [Stack.StartAgent] with more sections in the agent's
// configuration, as YAML.
func (s *Stack) StartAgentWith(ctx context.Context, sections string) error {
	s.opts.Progress("starting the agent")
	config, err := s.ConfigureAgent(filepath.Join(s.opts.Repo, "bin"), sections)
	if err != nil {
		return err
	}
	p, err := s.start(filepath.Join(s.opts.Repo, "bin", "truesized"), "--config", config)
	if err != nil {
		return err
	}
	s.agent = p
	return p.await(ctx, "truesized", func() error {
		_, err := s.Get(ctx, "/readyz")
		return err
	})
}

// ConfigureAgent writes the agent's configuration, for programs in bin and with
// more sections, and returns its path.
func (s *Stack) ConfigureAgent(bin, sections string) (path string, err error) {
	if s.metrics == "" {
		if s.metrics, err = freeAddress(); err != nil {
			return "", err
		}
	}
	path = s.path("truesize.yaml")
	err = writeTemplate(path, agentConfig+sections, map[string]any{
		"Dir": s.Dir, "Metrics": s.metrics, "NRISocket": s.NRISocket(), "Viewd": filepath.Join(bin, "truesize-viewd"),
	})
	if err != nil {
		return "", fmt.Errorf("configure the agent: %w", err)
	}
	return path, nil
}

// StopAgent ends the agent as a node's shutdown would; KillAgent as a crash.
// Both leave the view's server alone.
func (s *Stack) StopAgent() { s.agent.stop() }

// KillAgent ends the agent as a crash would.
func (s *Stack) KillAgent() { s.agent.kill() }

// StateDir returns the state directory of the stack's agent.
func (s *Stack) StateDir() string { return s.path("truesize-state") }

// Get fetches a path of the agent's HTTP server. Another status than 200 is
// an error.
func (s *Stack) Get(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.metrics+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, resp.Status, body)
	}
	return string(body), err
}

// Truesize runs the admin's command line tool on the stack.
func (s *Stack) Truesize(ctx context.Context, args ...string) (string, error) {
	return run(ctx, filepath.Join(s.opts.Repo, "bin", "truesize"), append([]string{"--run-dir", s.RunDir()}, args...)...)
}

// freeAddress returns a loopback address with a port nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Logs returns the last bytes of each daemon's log, for a test that failed: few
// enough that they do not bury what it said.
func (s *Stack) Logs(bytes int) string {
	files, _ := filepath.Glob(filepath.Join(s.LogDir(), "*.log"))
	var all string
	for _, f := range files {
		data, _ := os.ReadFile(f)
		all += fmt.Sprintf("--- %s\n%s\n", filepath.Base(f), data[max(0, len(data)-bytes):])
	}
	return all
}
