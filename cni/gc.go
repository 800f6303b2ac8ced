package cni

import (
	"context"
	"errors"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/truesize/truesize/cni/delegate"
	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/state"
)

// GC removes what belongs to no attachment of the list the runtime gave. No
// list at all is not an empty one: then only what cannot be alive goes.
func GC(ctx context.Context, args *Args) error {
	c, err := begin(ctx, args)
	if err != nil {
		return err
	}
	defer c.close()
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	_, err = c.collect(c.key.Network, c.dead(), func(k state.Key) *state.Attachment {
		rec := c.unknown()
		rec.Key, rec.Netns = k, ""
		return rec
	})
	note(err)
	if c.conf.validGiven {
		note(c.releaseUnlisted())
	}
	note(c.sweepClaims(c.key.Network))
	note(c.dir.Tidy(c.key.Network))
	note(c.sweepShims())
	if c.conf.delegated() {
		note(c.delegateOptional("GC"))
	}
	return asCNI("collect what is left of dead attachments", errors.Join(errs...))
}

// dead judges by the runtime's list, or by the facts where there is none.
func (c *call) dead() func(state.Key, *state.Attachment) bool {
	if !c.conf.validGiven {
		return func(_ state.Key, rec *state.Attachment) bool { return rec != nil && c.gone(rec) }
	}
	valid := c.validOwners()
	return func(k state.Key, _ *state.Attachment) bool {
		return !valid[hostlocal.Owner{ID: k.ContainerID, IfName: k.IfName}]
	}
}

func (c *call) validOwners() map[hostlocal.Owner]bool {
	valid := map[hostlocal.Owner]bool{}
	for _, a := range c.conf.ValidAttachments {
		valid[hostlocal.Owner{ID: a.ContainerID, IfName: a.IfName}] = true
	}
	return valid
}

// releaseUnlisted frees reservations that have no record: made by the
// reference plugin, or before the run directory was lost. Recorded ones are
// left: their calls are under way, or have failed and said so.
func (c *call) releaseUnlisted() error {
	if !c.conf.inProcess() {
		return nil
	}
	local, err := c.localConfig()
	if err != nil {
		return err
	}
	store, err := hostlocal.OpenExisting(local.DataDir, c.key.Network, lockWait)
	if store == nil || err != nil {
		return err
	}
	defer store.Close()
	keep := c.validOwners()
	keys, err := c.dir.List(c.key.Network)
	if err != nil {
		return err
	}
	for _, k := range keys {
		keep[hostlocal.Owner{ID: k.ContainerID, IfName: k.IfName}] = true
	}
	ids := map[string]bool{}
	for o := range keep {
		ids[o.ID] = true
	}
	freed, err := store.ReleaseIf(func(_ netip.Addr, o hostlocal.Owner) bool {
		return !keep[o] && (o.IfName != "" || !ids[o.ID])
	})
	c.counted("address", len(freed))
	return err
}

// delegateOptional runs a verb of the IPAM plugin that older plugins lack.
func (c *call) delegateOptional(command string) error {
	_, err := delegate.Run(c.ctx, c.delegateCall(command))
	var e *types.Error
	if errors.As(err, &e) && (e.Code == types.ErrIncompatibleCNIVersion || e.Code == types.ErrInvalidEnvironmentVariables) {
		return nil
	}
	return err
}
