package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

var alive, rubbish [][]byte

// A node with many containers has a server with much to keep: that is no reason
// to collect garbage without end.
func TestTuneWithMuchAlive(t *testing.T) {
	procs, limit := runtime.GOMAXPROCS(0), debug.SetMemoryLimit(-1)
	percent := debug.SetGCPercent(100)
	defer func() {
		runtime.GOMAXPROCS(procs)
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
		alive, rubbish = nil, nil
	}()
	tune(2)
	for range 512 {
		alive = append(alive, make([]byte, 64<<10)) // 32 MiB
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rubbish = make([][]byte, 1)
	for range 512 {
		rubbish[0] = make([]byte, 8<<10) // 4 MiB
	}
	runtime.ReadMemStats(&after)
	if n := after.NumGC - before.NumGC; n > 0 {
		t.Errorf("%d collections for 4 MiB of garbage beside 32 MiB that are alive", n)
	}
}
