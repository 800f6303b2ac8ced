// Package neigh asks a network whether an address is taken and tells it who
// has one: ARP for IPv4 (RFC 826, RFC 5227), Neighbour Discovery for IPv6
// (RFC 4861, RFC 4862). The frames are made and read by pure functions;
// [Probe] and [Announce] send and listen on packet sockets, so an interface
// needs no address of its own to ask from.
package neigh

import (
	"encoding/binary"
	"net"
	"net/netip"
)

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	arpRequest = 1
	arpLen     = 28

	icmpv6       = 58
	typeNS       = 135 // Neighbour Solicitation
	typeNA       = 136 // Neighbour Advertisement
	optTargetLLA = 2   // target link-layer address
	flagOverride = 0x20

	etherLen = 14
	ipv6Len  = 40
	ndpLen   = 24 // ICMPv6 header, flags, target
)

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = netip.MustParseAddr("ff02::1")
)

// A Holder is a host that claims an address.
type Holder struct {
	Addr netip.Addr
	MAC  net.HardwareAddr

	asks bool // it has only begun to: it sent a probe of its own
}

// probeFrame asks for a from mac without claiming it: an ARP probe (sender
// address 0.0.0.0) or a DAD solicitation (source ::).
func probeFrame(mac net.HardwareAddr, a netip.Addr) []byte {
	if a.Is4() {
		return arpFrame(mac, netip.IPv4Unspecified(), a)
	}
	return ndpFrame(mac, netip.IPv6Unspecified(), solicitedNode(a), typeNS, 0, a, nil)
}

// announceFrame says that mac has a: an ARP announcement (RFC 5227, 2.3) or
// an unsolicited advertisement that overrides caches (RFC 4861, 7.2.6).
func announceFrame(mac net.HardwareAddr, a netip.Addr) []byte {
	if a.Is4() {
		return arpFrame(mac, a, a)
	}
	return ndpFrame(mac, a, allNodes, typeNA, flagOverride, a, mac)
}

// arpFrame is a broadcast ARP request.
func arpFrame(mac net.HardwareAddr, sender, target netip.Addr) []byte {
	b := ether(broadcast, mac, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, arpRequest) // Ethernet, IPv4, their lengths, operation
	b = append(b, mac...)
	b = append(b, sender.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, target.AsSlice()...)
}

// ndpFrame is a Neighbour Discovery message; lla, when given, goes into a
// target link-layer address option.
func ndpFrame(mac net.HardwareAddr, src, dst netip.Addr, kind, flags byte, target netip.Addr, lla net.HardwareAddr) []byte {
	msg := []byte{kind, 0, 0, 0, flags, 0, 0, 0}
	msg = append(msg, target.AsSlice()...)
	if lla != nil {
		msg = append(append(msg, optTargetLLA, 1), lla...)
	}
	binary.BigEndian.PutUint16(msg[2:], checksum(src, dst, msg))
	b := ether(multicastMAC(dst), mac, etherIPv6)
	b = append(b, 0x60, 0, 0, 0, 0, byte(len(msg)), icmpv6, 255)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	return append(b, msg...)
}

func ether(dst, src net.HardwareAddr, kind uint16) []byte {
	b := make([]byte, 0, 96)
	b = append(append(b, dst...), src...)
	return binary.BigEndian.AppendUint16(b, kind)
}

// checksum is ICMPv6's: over a pseudo-header and the message (RFC 4443, 2.3).
func checksum(src, dst netip.Addr, msg []byte) uint16 {
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = append(pseudo, 0, 0, 0, byte(len(msg)), 0, 0, 0, icmpv6)
	sum := uint32(0)
	for _, b := range [][]byte{pseudo, msg} {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(b[i])<<8 | uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// solicitedNode is a's solicited-node multicast address (RFC 4291, 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b, group := a.As16(), netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], b[13:])
	return netip.AddrFrom16(group)
}

// multicastMAC is the Ethernet group of an IPv6 multicast address (RFC 2464).
func multicastMAC(a netip.Addr) net.HardwareAddr {
	b := a.As16()
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// parse reads a frame and returns who in it claims, or is about to claim, one
// address: the sender of any ARP packet, the one who sends an ARP probe or a
// DAD solicitation, the one who advertises. ok is false for other frames.
func parse(frame []byte) (Holder, bool) {
	if len(frame) < etherLen {
		return Holder{}, false
	}
	body := frame[etherLen:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		return parseARP(body)
	case etherIPv6:
		return parseNDP(net.HardwareAddr(frame[6:12]), body)
	}
	return Holder{}, false
}

func parseARP(b []byte) (Holder, bool) {
	if len(b) < arpLen || b[0] != 0 || b[1] != 1 || b[2] != 8 || b[3] != 0 || b[4] != 6 || b[5] != 4 {
		return Holder{}, false
	}
	sender, target := netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	h := Holder{Addr: sender, MAC: append(net.HardwareAddr(nil), b[8:14]...)}
	if sender.IsUnspecified() {
		if binary.BigEndian.Uint16(b[6:]) != arpRequest {
			return Holder{}, false
		}
		h.Addr, h.asks = target, true
	}
	return h, true
}

func parseNDP(from net.HardwareAddr, b []byte) (Holder, bool) {
	// RFC 4861, 7.1: hop limit 255, code 0. An extension header before the
	// message is not followed: no host sends one.
	if len(b) < ipv6Len+ndpLen || b[0]>>4 != 6 || b[6] != icmpv6 || b[7] != 255 {
		return Holder{}, false
	}
	src, msg := netip.AddrFrom16([16]byte(b[8:24])), b[ipv6Len:]
	if msg[1] != 0 {
		return Holder{}, false
	}
	h := Holder{Addr: netip.AddrFrom16([16]byte(msg[8:24])), MAC: append(net.HardwareAddr(nil), from...)}
	switch {
	case msg[0] == typeNA:
		return h, true
	case msg[0] == typeNS && src.IsUnspecified():
		h.asks = true
		return h, true
	}
	return Holder{}, false
}
