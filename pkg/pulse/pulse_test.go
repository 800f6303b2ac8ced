package pulse

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Goroutines that begin at different times go on at the same ones.
func TestWait(t *testing.T) {
	const every = 50 * time.Millisecond
	woken := make(chan int64, 8)
	for i := range 4 {
		time.Sleep(time.Duration(i) * time.Millisecond)
		go func() {
			before := time.Since(start) / every
			if err := Wait(t.Context(), every); err != nil {
				t.Error(err)
			}
			if now := time.Since(start) / every; now <= before {
				t.Errorf("woken in pulse %d, which had begun", now)
			}
			woken <- int64(before)
		}()
	}
	for range 4 {
		<-woken
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Wait(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
