// Package viewd is the agent's side of truesize-viewd, the server of the
// view: it asks whether it answers, gets its counters, and keeps it running.
//
// Nothing here waits on the view without a bound: a process that touches a
// FUSE file whose server hangs sleeps until that server is gone.
package viewd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Paths below the run directory, as in docs/architecture.md.
const (
	viewName   = "view"
	socketName = "viewd.sock"
	lockName   = "viewd.lock"
	logName    = "viewd.log"
)

// ErrSilent says that the view does not answer.
var ErrSilent = errors.New("the view does not answer")

const (
	// checkWithin is how long the view may take for a new container's files: a
	// thousand times what it needs, a fraction of what a runtime waits for the
	// agent.
	checkWithin = 300 * time.Millisecond
	// versionWithin is how long it may take where no container waits for it:
	// longer than the keeper takes to replace a server that stands still.
	versionWithin = 3 * time.Second
	maxDump       = 1 << 20 // bytes of counters
)

// A Client asks the view. Its methods may be called concurrently.
type Client struct {
	runDir    string
	questions *questions
	// What bounds the questions of Check and Version.
	checkWithin, versionWithin time.Duration
	// warmUp bounds the look-ups of which nobody awaits the answer.
	warmUp chan struct{}
	seen   seenFiles
}

// NewClient returns a client of the view below runDir.
func NewClient(runDir string) *Client {
	return &Client{runDir: runDir, questions: newQuestions(), checkWithin: checkWithin, versionWithin: versionWithin, warmUp: make(chan struct{}, 1)}
}

// Dir returns the view's root.
func (c *Client) Dir() string { return filepath.Join(c.runDir, viewName) }

// Version returns what the server says of its version. It is not cached by
// the kernel, so an answer proves that the server is at work. It waits for one
// for 3 s, or until ctx ends. An error wraps [ErrSilent].
func (c *Client) Version(ctx context.Context) (string, error) {
	var line string
	err := c.ask(ctx, c.versionWithin, func() error {
		f, err := os.Open(filepath.Join(c.Dir(), ".truesize", "version"))
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, 4096))
		line = strings.TrimSpace(string(data))
		return err
	})
	if err != nil {
		return "", err
	}
	return line, nil
}

// ask runs a question as [questions.ask] does.
func (c *Client) ask(ctx context.Context, within time.Duration, question func() error) error {
	if err := c.questions.ask(ctx, within, question); err != nil {
		return fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return nil
}

// Dump returns the server's counters in Prometheus' text format.
func (c *Client) Dump(ctx context.Context) ([]byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(c.runDir, socketName))
	if err != nil {
		return nil, fmt.Errorf("get truesize-viewd's counters: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, fmt.Errorf("get truesize-viewd's counters: %w", err)
		}
	}
	data, err := io.ReadAll(io.LimitReader(conn, maxDump+1))
	if err != nil {
		return nil, fmt.Errorf("get truesize-viewd's counters: %w", err)
	}
	if len(data) > maxDump {
		return nil, fmt.Errorf("get truesize-viewd's counters: over %d bytes", maxDump)
	}
	return data, nil
}
