package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"

	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/internal/file"
	"github.com/truesize/truesize/cni/internal/jsonw"
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

func (p pool) encode() []byte {
	var sets [][]byte
	for _, s := range p.Sets {
		var ranges [][]byte
		for _, r := range s {
			var o jsonw.Object
			o.String("Subnet", r.Subnet.String())
			o.String("Start", r.Start.String())
			o.String("End", r.End.String())
			if r.Gateway.IsValid() {
				o.String("Gateway", r.Gateway.String())
			}
			ranges = append(ranges, o.Bytes())
		}
		sets = append(sets, jsonw.Array(ranges))
	}
	var o jsonw.Object
	o.String("dataDir", p.DataDir)
	o.Raw("sets", jsonw.Array(sets))
	return o.Bytes()
}

// notePool writes the description when it has changed.
func (c *call) notePool(local *hostlocal.Config) error {
	want := pool{DataDir: local.DataDir, Sets: local.Sets}.encode()
	path := c.networkFile(c.key.Network, poolFile)
	if have, err := file.Read(path); err == nil && bytes.Equal(have, want) {
		return nil
	}
	return state.WriteFile(path, want, true)
}

// readPool returns the description of a network's pools, nil if there is none.
func (c *engine) readPool(network string) (*pool, error) {
	data, err := file.Read(c.networkFile(network, poolFile))
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
