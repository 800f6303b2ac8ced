package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/neigh"
	"github.com/truesize/truesize/cni/state"
)

// maxConflicts is how many conflicting addresses an ADD steps over before it
// says that the pool's ranges must be wrong.
const maxConflicts = 5

// Add attaches a container and hands the result to emit, which prints it. If
// anything fails, emit included, all that was made is taken back.
func Add(ctx context.Context, args *Args, emit func(types.Result, string) error) (err error) {
	c, err := begin(ctx, args)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.enterPod(); err != nil {
		return err
	}
	lock, err := c.dir.LockAttachment(c.key, lockWait)
	if err != nil {
		return asCNI("wait for another call on this attachment", err)
	}
	// The lock's file stays while the attachment exists: DEL needs no free
	// disk space to take it.
	defer func() { lock.Release(err == nil) }()
	if err := c.clearEarlier(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// A signal ends the call, and not what takes it back: the IPAM
			// plugin has to hear of it.
			c.ctx = context.WithoutCancel(c.ctx)
			c.undo.run()
		}
	}()
	a := &adding{call: c}
	if err := a.run(); err != nil {
		return err
	}
	return asCNI("print the result", emit(a.result, c.conf.CNIVersion))
}

// clearEarlier takes back what an interrupted ADD or DEL of this attachment
// left, and refuses to attach twice.
func (c *call) clearEarlier() error {
	rec, err := c.dir.Get(c.key)
	if errors.Is(err, state.ErrNotFound) {
		return c.mustBeFree()
	}
	if err == nil && rec.Phase == state.Ready && rec.BootID == c.dir.BootID && sameNetns(rec, c.pod) {
		if _, lerr := c.pod.ByName(c.key.IfName); lerr == nil {
			return fail(codeAttached, fmt.Sprintf("%s is attached already; call DEL first", c.key), nil)
		}
	}
	if err != nil {
		rec = c.unknown()
	}
	return asCNI("take back what an interrupted call left", c.takeBack(rec))
}

// mustBeFree refuses an interface that exists and that no record knows:
// another plugin's, or ours from before the records were lost.
func (c *call) mustBeFree() error {
	_, err := c.pod.ByName(c.key.IfName)
	switch {
	case errors.Is(err, link.ErrNotFound):
		return nil
	case err == nil:
		return fail(codeAttached, fmt.Sprintf("the container has an interface %s already; call DEL first", c.key.IfName), nil)
	}
	return asCNI("look at the container's interfaces", err)
}

// sameNetns reports whether rec is of the namespace that conn is in.
func sameNetns(rec *state.Attachment, conn *link.Conn) bool {
	id := conn.NS().ID()
	return rec.NetnsDev == id.Dev && rec.NetnsIno == id.Ino
}

// adding is an ADD under way.
type adding struct {
	*call
	rec    *state.Attachment
	low    lower
	mac    net.HardwareAddr // of the pod's interface, once it exists
	index  int              // of the pod's interface, in the pod
	tuned  bool             // whether its sysctls are set
	quiet  bool             // the kernel will not announce its addresses
	up     bool             // whether it is up
	result *current.Result
}

func (a *adding) run() error {
	if err := a.prepare(); err != nil {
		return err
	}
	if err := a.attach(); err != nil {
		return err
	}
	if err := a.configure(); err != nil {
		return err
	}
	a.rec.Phase = state.Ready
	return asCNI("write the attachment's record", a.dir.Put(a.rec))
}

// prepare writes the record of the intent, before anything is made.
func (a *adding) prepare() error {
	master, err := a.findMaster()
	if err != nil {
		return err
	}
	id := a.pod.NS().ID()
	a.rec = &state.Attachment{
		Key: a.key, Phase: state.Adding, BootID: a.dir.BootID, Created: time.Now().UTC(),
		Netns: a.args.Netns, NetnsDev: id.Dev, NetnsIno: id.Ino, Pod: a.conf.pod,
		Master: master.Attrs().Name, Lower: master.Attrs().Name, InPod: a.conf.InPod,
		IPAM: state.IPAM{Type: a.conf.IPAM.Type},
	}
	if a.conf.delegated() {
		a.rec.Config, a.rec.Args, a.rec.Path = a.given.Config, a.args.Args, a.args.Path
	}
	if err := a.fillIPAM(); err != nil {
		return err
	}
	a.planVLAN(master)
	if err := a.dir.Put(a.rec); err != nil {
		return asCNI("write the attachment's record", err)
	}
	// The record names all that can be made: one step takes it back.
	a.undo.add(func() { _ = a.takeBack(a.rec) })
	a.low, err = a.openLower(master)
	return err
}

// attach gets the addresses and makes the link with them in mind; of a pool
// of its own it tries further addresses when the network has one already.
func (a *adding) attach() error {
	if !a.conf.inProcess() {
		return a.attachDelegated()
	}
	for try := 0; ; try++ {
		if err := a.allocate(); err != nil {
			return err
		}
		if err := a.makeLink(a.deriveMAC()); err != nil {
			return err
		}
		found, err := a.probe()
		if err != nil || found == nil {
			return err
		}
		if len(a.requestedAddrs()) > 0 || try == maxConflicts {
			return fail(codeConflict, found.Error(), nil)
		}
		if err := a.stepOver(found); err != nil {
			return err
		}
	}
}

// attachDelegated is attach where another plugin, or none, gives addresses.
// The link comes first: a dhcp plugin asks through it.
func (a *adding) attachDelegated() error {
	if err := a.makeLink(a.deriveMAC()); err != nil {
		return err
	}
	if a.conf.IPAM.Type == "" {
		a.result = &current.Result{}
		return nil
	}
	if err := a.execIPAM(); err != nil {
		return err
	}
	if err := a.adoptAddressMAC(); err != nil {
		return err
	}
	found, err := a.probe()
	if err == nil && found != nil {
		err = fail(codeConflict, found.Error(), nil)
	}
	return err
}

// deriveMAC is the MAC that the pod's interface is to get, nil for one of the
// kernel's choice. A passthru macvlan lends its MAC to the master, so there
// only an explicit one is set.
func (a *adding) deriveMAC() net.HardwareAddr {
	switch {
	case a.conf.mac != nil:
		return a.conf.mac
	case a.conf.Mode == "passthru" || a.conf.MACFrom == macFromKernelIs:
		return nil
	case a.conf.MACFrom != macFromPod && len(a.rec.Prefixes) > 0:
		return macFromAddrs(a.rec.Prefixes)
	}
	return macFromIdentity(a.key, a.conf.pod)
}

// makeLink makes the macvlan, not yet up, in the pod.
func (a *adding) makeLink(mac net.HardwareAddr) error {
	err := a.low.conn.AddMacvlan(link.Macvlan{
		Name: a.key.IfName, Interim: interimName(a.key), Parent: a.low.Attrs().Index, Mode: a.conf.mode,
		MTU: a.conf.MTU, MAC: mac, BCQueueLen: a.conf.BCQueueLen,
	}, a.pod)
	if err != nil {
		return asCNI(fmt.Sprintf("make the macvlan %s on %s", a.key.IfName, a.low.Attrs().Name), err)
	}
	return a.readLink()
}

// readLink notes index and MAC of the pod's interface.
func (a *adding) readLink() error {
	l, err := a.pod.ByName(a.key.IfName)
	if err != nil {
		return asCNI("read the macvlan that was made", err)
	}
	a.index, a.mac = l.Attrs().Index, l.Attrs().HardwareAddr
	a.rec.MAC = a.mac.String()
	return nil
}

// adoptAddressMAC gives the interface the MAC that goes with its addresses.
// A dhcp lease is bound to the MAC it was asked for with, so that one stays.
func (a *adding) adoptAddressMAC() error {
	want := a.deriveMAC()
	if want == nil || want.String() == a.rec.MAC || a.conf.IPAM.Type == "dhcp" {
		return nil
	}
	l, err := a.pod.ByName(a.key.IfName)
	if err == nil {
		err = a.pod.LinkSetHardwareAddr(l, want)
	}
	if err != nil {
		return asCNI("set the MAC address", err)
	}
	return a.readLink()
}

// stepOver gives the conflicting addresses back and remembers them.
func (a *adding) stepOver(found *conflict) error {
	a.up, a.tuned = false, false
	if err := a.pod.Delete(a.key.IfName); err != nil {
		return asCNI("remove the link of a conflicting address", err)
	}
	if err := a.releaseLocal(a.rec); err != nil {
		return asCNI("release a conflicting address", err)
	}
	a.rec.Prefixes = nil
	return asCNI("remember a conflicting address", a.noteConflict(found))
}

// configure brings the interface up with its addresses and routes, and makes
// the ways between node and pod.
func (a *adding) configure() error {
	if err := a.dir.Put(a.rec); err != nil {
		return asCNI("write the attachment's record", err)
	}
	if err := a.addAddresses(); err != nil {
		return err
	}
	wasUp := a.up
	if err := a.setUp(); err != nil {
		return err
	}
	if wasUp || a.quiet {
		a.announce() // else the kernel did as the interface came up
	}
	if err := a.addRoutes(); err != nil {
		return err
	}
	a.announce()
	if err := a.addHostAccess(); err != nil {
		return err
	}
	if err := a.shape(); err != nil {
		return err
	}
	return a.finishResult()
}

// finishResult puts the interface into the result, behind what an earlier
// plugin of the list has made.
func (a *adding) finishResult() error {
	prev := &current.Result{}
	if a.conf.PrevResult != nil {
		var err error
		if prev, err = current.NewResultFromResult(a.conf.PrevResult); err != nil {
			return fail(types.ErrDecodingFailure, "prevResult cannot be used", err)
		}
	}
	for _, ip := range a.result.IPs {
		ip.Interface = current.Int(len(prev.Interfaces))
	}
	a.result.Interfaces = prev.Interfaces
	a.result.IPs = append(prev.IPs, a.result.IPs...)
	a.result.Routes = append(prev.Routes, a.result.Routes...)
	if a.result.DNS.IsEmpty() {
		a.result.DNS = prev.DNS
	}
	a.result.CNIVersion = current.ImplementedSpecVersion
	a.result.Interfaces = append(a.result.Interfaces,
		&current.Interface{Name: a.key.IfName, Mac: a.rec.MAC, Sandbox: a.args.Netns})
	if !a.conf.DNS.IsEmpty() {
		a.result.DNS = a.conf.DNS
	}
	return nil
}

// announce tells the network who has the addresses now: neighbours may
// remember an earlier holder. It is best effort: the pod works without.
//
// The kernel does it when an interface's MAC is set (arp_notify, ndisc_notify)
// even to what it was. Closing a packet socket of our own would wait for all
// processors to pass through the network code, up to some 15 ms; so that is
// only for kernels that refuse. Setting the MAC drops the interface's
// neighbours, permanent ones too: it comes before those are made.
func (a *adding) announce() {
	if len(a.rec.Prefixes) == 0 {
		return
	}
	l := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Index: a.index, Name: a.key.IfName}}
	if a.quiet || a.pod.LinkSetHardwareAddr(l, a.mac) != nil {
		_ = a.pod.NS().Do(func() error {
			return neigh.Announce(a.index, a.mac, addrsOf(a.rec.Prefixes))
		})
	}
}

// requestedAddrs are the addresses that were asked for by address.
func (a *adding) requestedAddrs() []netip.Addr {
	local, err := a.localConfig()
	if err != nil {
		return nil
	}
	return local.Requested
}
