package viewd

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// maxAsked is how many questions may be under way at once. Each holds a
	// thread until it is answered; those that find no place wait for one.
	maxAsked = 16
	// maxStuck is how many questions may hang before none is asked any more:
	// they have shown what the next one would find out.
	maxStuck = 4
)

// questions are what is being asked of the view. One that hangs is left to
// itself: it ends when the server is gone.
type questions struct {
	places chan struct{}

	mu    sync.Mutex
	stuck int // under way, and nobody waits for them any more
}

func newQuestions() *questions {
	return &questions{places: make(chan struct{}, maxAsked)}
}

// ask runs question, which touches the view, until it is done or the time is
// up.
func (q *questions) ask(ctx context.Context, within time.Duration, question func() error) error {
	if q.hanging() >= maxStuck {
		return fmt.Errorf("%d earlier questions hang: restart truesize-viewd", maxStuck)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	select {
	case q.places <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%d earlier questions have no answer: %w", maxAsked, ctx.Err())
	}
	done := make(chan error, 1)
	var answered, left bool // guarded by mu
	go func() {
		err := question()
		q.mu.Lock()
		if answered = true; left {
			q.stuck--
		}
		q.mu.Unlock()
		<-q.places
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !answered {
		left = true
		q.stuck++
	}
	return ctx.Err()
}

// hanging returns how many questions nobody waits for any more.
func (q *questions) hanging() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stuck
}
