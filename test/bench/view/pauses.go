package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pausesFor is for how long the machine's pauses are counted, and longPause from
// what length on.
const (
	pausesFor = 10 * time.Second
	longPause = time.Millisecond
)

// pauses are what the machine itself takes away, on a virtual one its host: what
// threads miss that do nothing but look at the clock, one on each CPU.
type pauses struct {
	perSecond float64 // of one CPU
	longest   time.Duration
}

func countPauses() (p pauses, err error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		count int
	)
	cpus := runtime.NumCPU()
	for cpu := range cpus {
		wg.Go(func() {
			runtime.LockOSThread() // and not unlocked: the thread, which is bound to a CPU, ends
			var set unix.CPUSet
			set.Set(cpu)
			perr := unix.SchedSetaffinity(0, &set)
			n, longest := look(pausesFor)
			mu.Lock()
			defer mu.Unlock()
			if perr != nil {
				err = fmt.Errorf("bind a thread to CPU %d: %w", cpu, perr)
			}
			count += n
			p.longest = max(p.longest, longest)
		})
	}
	wg.Wait()
	p.perSecond = float64(count) / pausesFor.Seconds() / float64(cpus)
	return p, err
}

// look looks at the clock for d, and returns how often it was kept from it for
// longPause or longer, and for how long at most.
func look(d time.Duration) (n int, longest time.Duration) {
	begin := time.Now()
	for last := time.Duration(0); last < d; {
		now := time.Since(begin)
		if now-last >= longPause {
			n++
			longest = max(longest, now-last)
		}
		last = now
	}
	return n, longest
}
