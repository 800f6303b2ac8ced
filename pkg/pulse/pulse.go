// Package pulse lets those of a process's goroutines that look after something
// now and then do so at the same moments. A process that sleeps is woken once
// for all of them: to wake it costs more than most of what they do.
package pulse

import (
	"context"
	"time"
)

var start = time.Now()

// Wait waits for the next multiple of every, counted from the start of the
// process, or until ctx ends, whose error it then returns. every is over 0.
func Wait(ctx context.Context, every time.Duration) error {
	t := time.NewTimer(every - time.Since(start)%every)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
