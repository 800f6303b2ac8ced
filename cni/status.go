package cni

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/truesize/truesize/cni/delegate"
	"github.com/truesize/truesize/cni/hostlocal"
)

// Status says whether an ADD can succeed now: the master is there and up, the
// state can be written, the IPAM plugin is ready, the pools have addresses.
func Status(ctx context.Context, args *Args) error {
	c, err := begin(ctx, args)
	if err != nil {
		return err
	}
	defer c.close()
	if !c.conf.InPod { // else the master comes with the container
		if err := c.masterReady(); err != nil {
			return err
		}
	}
	switch {
	case c.conf.inProcess():
		return c.poolsReady()
	case c.conf.delegated():
		return c.delegateReady()
	}
	return nil
}

func (c *call) masterReady() error {
	m, err := c.findMaster()
	if err != nil {
		return unavailable("the master cannot be used", err)
	}
	if m.Attrs().Flags&net.FlagUp == 0 {
		return unavailable(fmt.Sprintf("the master %s is down; set it up", m.Attrs().Name), nil)
	}
	if m.Attrs().Flags&net.FlagRunning == 0 {
		return unavailable(fmt.Sprintf("the master %s has no carrier; check its cable or switch port", m.Attrs().Name), nil)
	}
	return nil
}

// poolsReady looks for one free address in each pool, as an ADD would.
func (c *call) poolsReady() error {
	local, err := c.localConfig()
	if err != nil {
		return err
	}
	store, err := hostlocal.Open(local.DataDir, c.key.Network, lockWait)
	if err != nil {
		return unavailable("the address store cannot be used", err)
	}
	defer store.Close()
	never, err := c.readConflicts()
	if err != nil {
		return unavailable("the state directory cannot be read", err)
	}
	if err := store.Available(local.Sets, never); err != nil {
		return unavailable("no pod can get an address; widen the ipam ranges", err)
	}
	return nil
}

func (c *call) delegateReady() error {
	if err := delegate.Find(c.conf.IPAM.Type, c.args.Path); err != nil {
		return unavailable("the IPAM plugin cannot be run", err)
	}
	err := c.delegateOptional("STATUS")
	var e *types.Error
	if errors.As(err, &e) && (e.Code == types.ErrPluginNotAvailable || e.Code == types.ErrLimitedConnectivity) {
		return e
	}
	if err != nil {
		return unavailable("the IPAM plugin is not ready", err)
	}
	return nil
}

// unavailable is STATUS's error: no ADD can succeed.
func unavailable(msg string, err error) error {
	return fail(types.ErrPluginNotAvailable, msg, err)
}
