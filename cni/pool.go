package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"

	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/state"
)

// poolFile describes a network's pools for whoever has no configuration: the
// agent counts by it what is free.
const poolFile = "pool.json"

// A pool is the description.
type pool struct {
	DataDir string               `json:"dataDir"`
	Sets    []hostlocal.RangeSet `json:"sets"`
}

// notePool writes the description when it has changed.
func (c *call) notePool(local *hostlocal.Config) error {
	want, err := json.Marshal(pool{DataDir: local.DataDir, Sets: local.Sets})
	if err != nil {
		return err
	}
	path := c.networkFile(c.key.Network, poolFile)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, want) {
		return nil
	}
	return state.WriteFile(path, want, true)
}

// readPool returns the description of a network's pools, nil if there is none.
func (c *engine) readPool(network string) (*pool, error) {
	data, err := os.ReadFile(c.networkFile(network, poolFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var p pool
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, nil // the next ADD writes it anew
	}
	return &p, nil
}
