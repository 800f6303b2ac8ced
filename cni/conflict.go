package cni

import (
	"errors"
	"fmt"

	"github.com/truesize/truesize/cni/counters"
	"github.com/truesize/truesize/cni/neigh"
)

// errConflict says that another host of the network has the address.
var errConflict = errors.New("another host of the network has the address")

// A conflict is an address that another host answered for.
type conflict struct{ neigh.Holder }

func (c *conflict) Error() string {
	return fmt.Sprintf("%s: %s is at %s; take it out of the ipam ranges, or free it there", errConflict, c.Addr, c.MAC)
}

func (c *conflict) Unwrap() error { return errConflict }

// probe asks the network whether the addresses are free, before they are
// configured. It returns a conflict, or nil where there is none or nobody
// wants to know.
func (a *adding) probe() (*conflict, error) {
	var when neigh.Schedule
	switch a.conf.ConflictDetection {
	case conflictFast:
		when = neigh.Fast()
	case conflictFull:
		when = neigh.Full()
	default:
		return nil, nil
	}
	if err := a.setUp(); err != nil {
		return nil, err
	}
	var holder *neigh.Holder
	err := a.pod.NS().Do(func() (err error) {
		holder, err = neigh.Probe(a.ctx, a.index, a.mac, addrsOf(a.rec.Prefixes), when)
		return err
	})
	if err != nil {
		return nil, asCNI("ask the network whether the address is free", err)
	}
	if holder == nil {
		return nil, nil
	}
	withCounters(a.dir.Run, func(s *counters.Set) { s.Conflict() })
	return &conflict{*holder}, nil
}
