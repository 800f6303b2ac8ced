package cni

import (
	"encoding/json"
	"time"

	"github.com/truesize/truesize/cni/counters"
	"github.com/truesize/truesize/cni/state"
)

// Count adds one call to the counters in the run directory that the
// configuration stdin names. Counting never fails a call.
func Count(stdin []byte, op string, d time.Duration, code uint) {
	var conf struct {
		RunDir string `json:"runDir"`
	}
	_ = json.Unmarshal(stdin, &conf)
	withCounters(conf.RunDir, func(s *counters.Set) { s.Done(op, d, code) })
}

func withCounters(runDir string, add func(*counters.Set)) {
	if runDir == "" {
		runDir = state.DefaultRunDir
	}
	s, err := counters.Open(runDir)
	if err != nil {
		return
	}
	defer s.Close()
	add(s)
}
