package nri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// Config is what a [Client] works with; every field is needed.
type Config struct {
	Socket     string // NRI's, for example /var/run/nri/nri.sock
	PluginName string
	// PluginIndex, two digits, orders the plugins of a node. A high one sees
	// what the others have changed.
	PluginIndex string
	Manager     Manager
	Observer    Observer
	Sandboxes   Sandboxes
	Log         *slog.Logger
}

// A Client keeps the plugin registered.
type Client struct {
	cfg Config
	// The waits between attempts double from the one to the other.
	firstWait, lastWait time.Duration
	// registration bounds one attempt to register, until the runtime configures
	// the plugin.
	registration time.Duration
}

// New returns a client.
func New(cfg Config) *Client {
	return &Client{
		cfg:       cfg,
		firstWait: 100 * time.Millisecond, lastWait: 10 * time.Second,
		// The runtime allows 5 s, by default, to register and configure.
		registration: 15 * time.Second,
	}
}

// Run keeps the plugin registered until ctx ends, and returns ctx's error.
// The runtime being absent, or restarting, is no error: it waits for it.
func (c *Client) Run(ctx context.Context) error {
	wait := c.firstWait
	for {
		registered, err := c.session(ctx)
		c.cfg.Sandboxes.Unknown()
		c.cfg.Observer.Connected(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if registered {
			wait = c.firstWait
		}
		c.cfg.Observer.Error("nri-connection")
		c.cfg.Log.Warn("not registered with the runtime, trying again: is NRI enabled in its configuration?",
			"socket", c.cfg.Socket, "wait", wait.String(), "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, c.lastWait)
	}
}

// session registers once and serves until the connection ends. It reports
// whether the registration was completed.
func (c *Client) session(ctx context.Context) (registered bool, err error) {
	dialer := net.Dialer{Timeout: c.registration}
	conn, err := dialer.DialContext(ctx, "unix", c.cfg.Socket)
	if err != nil {
		return false, fmt.Errorf("connect to NRI: %w", err)
	}
	defer conn.Close()

	configured, ready := make(chan struct{}), make(chan struct{})
	p := &plugin{
		manager: c.cfg.Manager, observer: c.cfg.Observer, sandboxes: c.cfg.Sandboxes, log: c.cfg.Log,
		deadline:   requestDeadline,
		configured: sync.OnceFunc(func() { close(configured) }),
		ready:      sync.OnceFunc(func() { close(ready) }),
	}
	s, err := stub.New(p,
		stub.WithConnection(conn),
		stub.WithPluginName(c.cfg.PluginName), stub.WithPluginIdx(c.cfg.PluginIndex),
		stub.WithLogger(logger{c.cfg.Log}),
		stub.WithOnClose(func() {}))
	if err != nil {
		return false, fmt.Errorf("create NRI plugin: %w", err)
	}
	return c.serve(ctx, s, conn, configured, ready)
}

// serve runs s until it ends, or cannot register in time.
func (c *Client) serve(ctx context.Context, s stub.Stub, conn net.Conn, configured, ready <-chan struct{}) (registered bool, err error) {
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case err = <-done:
		return false, err
	case <-configured:
		return c.synchronized(ctx, s, ready, done)
	case <-time.After(c.registration):
		err = errors.New("the runtime did not complete the registration")
	case <-ctx.Done():
		err = ctx.Err()
	}
	conn.Close()
	release(s)
	<-done
	return false, err
}

// synchronized waits until the runtime has told all there is, and then for the
// end of the session. It does not give up: containerd tells it when it stops no
// container, creates none until then, and would create those that wait before it
// came to another attempt.
func (c *Client) synchronized(ctx context.Context, s stub.Stub, ready <-chan struct{}, done <-chan error) (registered bool, err error) {
	late := time.AfterFunc(c.registration, func() {
		c.cfg.Log.Warn("the runtime does not synchronize yet, and creates no container until it has: most likely it is stopping one, for as long as its grace period")
	})
	defer late.Stop()
	select {
	case err = <-done:
		return false, ended(err)
	case <-ready:
	}
	late.Stop()
	c.cfg.Observer.Connected(true)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go c.balance(ctx, s)
	return true, ended(<-done)
}

// release ends a stub that registered and was never configured: Start then
// waits for Configure, which a runtime that died meanwhile never sends.
func release(s stub.Stub) {
	if service, ok := s.(api.PluginService); ok {
		go func() { _, _ = service.Configure(context.Background(), &api.ConfigureRequest{}) }()
	}
}

// ended names the end of a session that has no error of its own.
func ended(err error) error {
	if err == nil {
		return errors.New("the runtime closed the connection")
	}
	return err
}

// logger lets the stub log through slog.
type logger struct{ log *slog.Logger }

func (l logger) Debugf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

// Infof is at debug level: the plugin says itself what an admin wants to know.
func (l logger) Infof(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

func (l logger) Warnf(ctx context.Context, format string, args ...any) {
	l.log.WarnContext(ctx, fmt.Sprintf(format, args...))
}

func (l logger) Errorf(ctx context.Context, format string, args ...any) {
	l.log.ErrorContext(ctx, fmt.Sprintf(format, args...))
}
