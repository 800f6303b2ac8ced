// Package viewd is the agent's side of truesize-viewd, the server of the
// view: it asks whether it answers, gets its counters, and keeps it running.
//
// Nothing here waits on the view without a bound: a process that touches a
// FUSE file whose server hangs sleeps until that server is gone. It imports
// nothing of Truesize.
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
	// answerDeadline is how long the view may take: a thousand times what it
	// needs, a fraction of what a runtime waits for the agent.
	answerDeadline = 300 * time.Millisecond
	// maxStuck is how many questions may hang at once. Each holds a thread
	// until the server goes away, so there are few.
	maxStuck = 4
	maxDump  = 1 << 20 // bytes of counters
)

// A Client asks the view. Its methods may be called concurrently.
type Client struct {
	runDir   string
	asking   chan struct{}
	deadline time.Duration
}

// NewClient returns a client of the view below runDir.
func NewClient(runDir string) *Client {
	return &Client{runDir: runDir, asking: make(chan struct{}, maxStuck), deadline: answerDeadline}
}

// Dir returns the view's root.
func (c *Client) Dir() string { return filepath.Join(c.runDir, viewName) }

// Version returns what the server says of its version. It is not cached by
// the kernel, so an answer proves that the server is at work. An error wraps
// [ErrSilent].
func (c *Client) Version(ctx context.Context) (string, error) {
	var line string
	err := c.ask(ctx, func() error {
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

// Check returns nil when the server has every one of a container's paths. An
// error wraps [ErrSilent].
func (c *Client) Check(ctx context.Context, id string, paths []string) error {
	return c.ask(ctx, func() error {
		for _, p := range paths {
			if _, err := os.Lstat(filepath.Join(c.Dir(), id, p)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ask runs question, which touches the view, until it is done or the time is
// up. What hangs is left to itself.
func (c *Client) ask(ctx context.Context, question func() error) error {
	select {
	case c.asking <- struct{}{}:
	default:
		return fmt.Errorf("%w: %d earlier questions hang: restart truesize-viewd", ErrSilent, maxStuck)
	}
	done := make(chan error, 1)
	go func() {
		done <- question()
		<-c.asking
	}()
	ctx, cancel := context.WithTimeout(ctx, c.deadline)
	defer cancel()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: %w", ErrSilent, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrSilent, ctx.Err())
	}
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
