// Command work does pieces of work on every thread that Go gives it, and
// prints how many a second, how long they took, and how often the kernel
// stopped it for its CPU limit.
package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	length, err := time.ParseDuration(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		times []time.Duration
	)
	before, begin := throttled(), time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			var own []time.Duration
			for time.Since(begin) < length {
				start := time.Now()
				piece()
				own = append(own, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
		})
	}
	wg.Wait()
	slices.Sort(times)
	at := func(q float64) float64 { return times[int(q*float64(len(times)-1))].Seconds() * 1000 }
	fmt.Printf("%d %.0f %.2f %.2f %d\n", runtime.GOMAXPROCS(0), float64(len(times))/time.Since(begin).Seconds(),
		at(0.5), at(0.99), throttled()-before)
}

// piece computes for a few milliseconds and leaves garbage behind.
func piece() {
	var sum uint64
	for range 200 {
		block := make([]uint64, 1<<10)
		for i := range block {
			sum = sum*6364136223846793005 + uint64(i)
			block[i] = sum
		}
		runtime.KeepAlive(block)
	}
}

// throttled returns how often this cgroup was stopped; it ends the program
// when nobody says.
func throttled() (n int) {
	for _, path := range []string{"/sys/fs/cgroup/cpu/cpu.stat", "/sys/fs/cgroup/cpu.stat"} {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if _, err := fmt.Sscanf(line, "nr_throttled %d", &n); err == nil {
				return n
			}
		}
	}
	fmt.Fprintln(os.Stderr, "work: no nr_throttled in /sys/fs/cgroup")
	os.Exit(1)
	return 0
}
