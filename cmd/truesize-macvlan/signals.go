package main

import (
	"context"
	"os/signal"
	"sync"
	"syscall"
)

// untilSignal is a context that ends with SIGTERM or SIGINT: a call that waits
// for the network or for another plugin then returns an error and takes back
// what it made.
//
// It listens from the first moment that somebody looks: listening costs the
// program a thread, as long as all the rest of its start (docs/decisions/0007).
// A call that waits for nothing is over before a signal could matter. Should
// one end it, the record that it wrote first says what to take back, as after
// a kill -9.
type untilSignal struct {
	context.Context
	once   sync.Once
	listen context.Context
}

func (c *untilSignal) signalled() context.Context {
	c.once.Do(func() {
		// Never stopped: the program ends with the call.
		c.listen, _ = signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT)
	})
	return c.listen
}

// Done is closed by the first signal.
func (c *untilSignal) Done() <-chan struct{} { return c.signalled().Done() }

// Err is nil until a signal has come.
func (c *untilSignal) Err() error { return c.signalled().Err() }
