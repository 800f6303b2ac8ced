package cni

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/state"
)

// vlanAlias marks the VLAN links that the plugin made: only those it removes.
const vlanAlias = "truesize-macvlan"

// planVLAN notes in the record on which link the macvlan will be.
func (a *adding) planVLAN(master lower) {
	if a.conf.VLAN == 0 {
		return
	}
	a.rec.VLAN = a.conf.VLAN
	a.rec.Lower = vlanName(master.Attrs().Name, a.conf.VLAN)
}

// vlanName is the name an admin would give it, where that is not too long.
func vlanName(master string, id int) string {
	if name := master + "." + strconv.Itoa(id); len(name) <= maxName {
		return name
	}
	return "tsl" + shimName(master + "." + strconv.Itoa(id))[3:]
}

// openLower returns the link for the macvlan, making the VLAN's if needed.
func (a *adding) openLower(master lower) (lower, error) {
	if a.conf.VLAN == 0 {
		return master, nil
	}
	lock, err := a.dir.LockLink(a.rec.Lower, lockWait)
	if err != nil {
		return lower{}, asCNI("wait for the VLAN link", err)
	}
	defer lock.Release(true)
	if err := a.dir.Use(a.key, a.rec.Lower); err != nil {
		return lower{}, asCNI("note the use of the VLAN link", err)
	}
	l, err := a.ensureVLAN(master)
	if errors.Is(err, link.ErrUnsupported) {
		return lower{}, fail(types.ErrInvalidNetworkConfig, "the kernel has no VLANs; load the module 8021q", err)
	}
	if err != nil {
		return lower{}, asCNI(fmt.Sprintf("make the VLAN link %s", a.rec.Lower), err)
	}
	if a.conf.MTU > l.Attrs().MTU {
		return lower{}, fail(types.ErrInvalidNetworkConfig,
			fmt.Sprintf("mtu is %d and the VLAN link %s has %d", a.conf.MTU, a.rec.Lower, l.Attrs().MTU), nil)
	}
	return lower{Link: l, conn: a.host}, nil
}

func (a *adding) ensureVLAN(master lower) (netlink.Link, error) {
	l, err := a.host.ByName(a.rec.Lower)
	if errors.Is(err, link.ErrNotFound) {
		if err := a.host.AddVLAN(a.rec.Lower, master.Attrs().Index, a.conf.VLAN, vlanAlias); err != nil {
			return nil, err
		}
		l, err = a.host.ByName(a.rec.Lower)
	}
	if err != nil {
		return nil, err
	}
	v, ok := l.(*netlink.Vlan)
	if !ok || v.VlanId != a.conf.VLAN || v.ParentIndex != master.Attrs().Index {
		return nil, fmt.Errorf("%w: %s is not VLAN %d of %s; remove or rename it", link.ErrExists, a.rec.Lower, a.conf.VLAN, master.Attrs().Name)
	}
	return l, a.host.Up(l)
}

// leaveVLAN ends the attachment's use of its VLAN's link; the last one
// removes it, if the plugin made it.
func (c *engine) leaveVLAN(rec *state.Attachment) error {
	if rec.VLAN == 0 {
		return nil
	}
	lock, err := c.dir.LockLink(rec.Lower, lockWait)
	if err != nil {
		return err
	}
	defer lock.Release(false)
	left, err := c.dir.Unuse(rec.Key, rec.Lower)
	if err != nil || left > 0 || !c.thisBoot(rec) {
		return err
	}
	l, err := c.host.ByName(rec.Lower)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err != nil || l.Attrs().Alias != vlanAlias {
		return err
	}
	return c.host.Delete(rec.Lower)
}
