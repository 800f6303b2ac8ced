package cni

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/vishvananda/netlink"

	"github.com/truesize/truesize/cni/state"
)

// shapeLatency is how long a packet may wait in a shaper, in microseconds.
const shapeLatency = 25000

// ifbName names the link through which packets to the pod are shaped.
func ifbName(k state.Key) string { return "tsi" + hashed(k) }

// hashed tells an attachment's links from others'.
func hashed(k state.Key) string {
	sum := sha256.Sum256([]byte(k.String()))
	return hex.EncodeToString(sum[:5])
}

// shape limits the pod's bandwidth as runtimeConfig.bandwidth says: what it
// sends by a token bucket on its interface, what it receives by one on an ifb
// link to which the interface's ingress is turned. Both are in the pod's
// namespace and end with it.
func (a *adding) shape() error {
	b := a.conf.RuntimeConfig.Bandwidth
	if b == nil {
		return nil
	}
	if b.EgressRate > 0 {
		if err := a.addBucket(a.index, b.EgressRate, b.EgressBurst); err != nil {
			return asCNI("limit the pod's egress", err)
		}
	}
	if b.IngressRate > 0 {
		if err := a.shapeIngress(b.IngressRate, b.IngressBurst); err != nil {
			return asCNI("limit the pod's ingress", err)
		}
	}
	return nil
}

// shapeIngress makes the ifb, its bucket, and the way into it.
func (a *adding) shapeIngress(rate, burst uint64) error {
	name := ifbName(a.key)
	mtu := 0
	if l, err := a.pod.ByName(a.key.IfName); err == nil {
		mtu = l.Attrs().MTU
	}
	if err := a.pod.AddIFB(name, mtu); err != nil {
		return err
	}
	ifb, err := a.pod.ByName(name)
	if err != nil {
		return err
	}
	if err := a.pod.Up(ifb); err != nil {
		return err
	}
	if err := a.addBucket(ifb.Attrs().Index, rate, burst); err != nil {
		return err
	}
	return a.pod.RedirectIngress(a.index, ifb.Attrs().Index)
}

// addBucket puts a token bucket on a link of the pod.
func (a *adding) addBucket(index int, rate, burst uint64) error {
	rateBytes, burstBytes := rate/8, burst/8
	ticks := float64(burstBytes) * 1e6 / float64(rateBytes) * netlink.TickInUsec()
	q := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rateBytes,
		Limit:      clamp32(float64(rateBytes)*shapeLatency/1e6 + float64(burstBytes)),
		Buffer:     clamp32(ticks),
	}
	if err := a.pod.QdiscAdd(q); err != nil {
		return fmt.Errorf("add token bucket: %w", err)
	}
	return nil
}

func clamp32(v float64) uint32 { return uint32(min(v, math.MaxUint32)) }
