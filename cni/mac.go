package cni

import (
	"crypto/sha256"
	"net"
	"net/netip"

	"github.com/truesize/truesize/cni/state"
)

// The first octets of the addresses we derive. Bit 1 of the first octet
// makes them locally administered, bit 0 unicast (IEEE 802, clause 8.2).
const (
	macOfAddr  = 0x56 // 56:54:…, a pod with an IPv4 address: the address follows
	macSecond  = 0x54
	macOfHash  = 0x5a // 5a:…, a pod without: five octets of a hash follow
	macOfShim  = 0x5e // 5e:…, the node's shim link: likewise
	macHashLen = 5
)

// macFromAddrs derives a pod's MAC from its addresses: the same address has
// the same MAC wherever and whenever it is used next, so no neighbour's cache
// is ever wrong about it, and the MAC is unique because the address is.
func macFromAddrs(prefixes []netip.Prefix) net.HardwareAddr {
	for _, p := range prefixes {
		if a := p.Addr(); a.Is4() {
			b := a.As4()
			return net.HardwareAddr{macOfAddr, macSecond, b[0], b[1], b[2], b[3]}
		}
	}
	if len(prefixes) == 0 {
		return nil
	}
	return macFromHash(macOfHash, "addr", prefixes[0].Addr().String())
}

// macFromIdentity derives a pod's MAC from its name, so that the next pod of a
// StatefulSet of that name has it again; from the container id where the
// runtime gave no name.
func macFromIdentity(k state.Key, pod state.Pod) net.HardwareAddr {
	if pod.Name == "" {
		return macFromHash(macOfHash, "container", k.Network, k.ContainerID, k.IfName)
	}
	return macFromHash(macOfHash, "pod", k.Network, pod.Namespace, pod.Name, k.IfName)
}

// macOfShimLink derives the MAC of the shim of one master: unique on the
// network as the master's own is, and the same after a reboot.
func macOfShimLink(master net.HardwareAddr, name string) net.HardwareAddr {
	return macFromHash(macOfShim, "shim", master.String(), name)
}

func macFromHash(first byte, parts ...string) net.HardwareAddr {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return append(net.HardwareAddr{first}, h.Sum(nil)[:macHashLen]...)
}
