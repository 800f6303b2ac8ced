package cni

import (
	"encoding/json"
	"time"

	"github.com/truesize/truesize/cni/counters"
	"github.com/truesize/truesize/cni/state"
)

// Count adds one call, which has ended, to the counters in the run directory.
// Counting never fails a call.
func Count(a *Args, d time.Duration, code uint) {
	withCounters(a.runDir, func(s *counters.Set) { s.Done(a.Command, d, code) })
}

// runDirOf is the run directory that a configuration names which cannot be
// used otherwise: its call is counted where the others are.
func runDirOf(stdin []byte) string {
	var conf struct {
		RunDir string `json:"runDir"`
	}
	_ = json.Unmarshal(stdin, &conf)
	return conf.RunDir
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
