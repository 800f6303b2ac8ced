package main

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// TestUntilSignal: once somebody waits, a signal ends the wait and not the
// program.
func TestUntilSignal(t *testing.T) {
	c := &untilSignal{Context: t.Context()}
	if c.listen != nil {
		t.Error("it listens before anybody looks")
	}
	if err := c.Err(); err != nil {
		t.Errorf("ended before the signal: %v", err)
	}
	derived, cancel := context.WithCancel(c) // as os/exec does
	defer cancel()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-derived.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the signal did not end the context")
	}
	if c.Err() == nil {
		t.Error("no error after the signal")
	}
}
