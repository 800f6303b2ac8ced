package cni

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

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
	holder, err := neigh.Probe(a.ctx, a.askers(), addrsOf(a.rec.Prefixes), when)
	if err != nil {
		return nil, asCNI("ask the network whether the address is free", err)
	}
	if holder == nil {
		return nil, nil
	}
	withCounters(a.dir.Run, func(s *counters.Set) { s.Conflict() })
	return &conflict{*holder}, nil
}

// askers are the pod's interface and the link below it. A pod of another node
// that has the address has the MAC that goes with it too: it takes what this
// pod's interface asks for its own frames, and its answer would not leave its
// node. The link below is asked from for such ones; the other macvlans on it,
// on this node, do not hear it.
func (a *adding) askers() []neigh.Asker {
	from := []neigh.Asker{{In: a.pod.NS().Do, Index: a.index, MAC: a.mac}}
	low := a.low.Attrs()
	if a.conf.mode != netlink.MACVLAN_MODE_PASSTHRU && low.Flags&net.FlagUp != 0 {
		from = append(from, neigh.Asker{In: a.low.conn.NS().Do, Index: low.Index, MAC: low.HardwareAddr})
	}
	return from
}
