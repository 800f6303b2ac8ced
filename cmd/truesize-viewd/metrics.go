package main

import (
	"errors"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/truesize/truesize/fuse/kept"
	"github.com/truesize/truesize/fuse/promtext"
	"github.com/truesize/truesize/fuse/view"
	"github.com/truesize/truesize/pkg/version"
	"golang.org/x/sys/unix"
)

// listen takes over the socket of a predecessor: the lock is held.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}

// serveMetrics writes one exposition per connection.
func serveMetrics(l net.Listener, v *view.View, m *kept.Memory) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // out of descriptors: they come back
			time.Sleep(100 * time.Millisecond)
			continue
		}
		// One at a time: who does not read is waited for this long only.
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = conn.Write(exposition(v, m))
		conn.Close()
	}
}

func exposition(v *view.View, m *kept.Memory) []byte {
	w := new(promtext.Writer)
	v.WriteMetrics(w)
	const events = "truesize_viewd_keeper_events_total"
	w.Metric(events, promtext.Counter, "What happened to the servers of this view since it was mounted.")
	counters := m.Counters()
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		w.Sample(events, float64(counters[name]), "event", name)
	}
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) == nil {
		cpu := float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
		w.One("truesize_viewd_process_cpu_seconds_total", promtext.Counter, "CPU time of the server.", cpu)
	}
	w.One("truesize_viewd_goroutines", promtext.Gauge, "Goroutines of the server.", float64(runtime.NumGoroutine()))
	const build = "truesize_viewd_build_info"
	i := version.Get()
	w.Metric(build, promtext.Gauge, "The build of the server; its value is 1.")
	w.Sample(build, 1, "version", i.Version, "revision", i.Revision, "goversion", i.GoVersion)
	return w.Bytes()
}
