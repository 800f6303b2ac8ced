package neigh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A Schedule is when probes are sent, counted from the start, and how long
// one listens for answers.
type Schedule struct {
	Send   []time.Duration
	Listen time.Duration
}

// Fast finds hosts that answer within a tenth of a second, which hosts on a
// wired network do unless they sleep.
func Fast() Schedule {
	return Schedule{Send: []time.Duration{0, 40 * time.Millisecond}, Listen: 100 * time.Millisecond}
}

// Full is RFC 5227, section 2.1.1: three probes one to two seconds apart after
// a wait of up to one second, then two seconds of silence.
func Full() Schedule {
	at := rand.N(time.Second)
	s := Schedule{}
	for range 3 {
		s.Send = append(s.Send, at)
		at += time.Second + rand.N(time.Second)
	}
	s.Listen = s.Send[2] + 2*time.Second
	return s
}

// An Asker is an interface to ask from, which is up.
type Asker struct {
	In    func(func() error) error // calls a function in the interface's network namespace
	Index int
	MAC   net.HardwareAddr
}

// Probe asks whether another host has one of the addresses, all at once and
// from all of the interfaces. It returns the first holder it hears of, or nil
// after the schedule's silence.
func Probe(ctx context.Context, from []Asker, addrs []netip.Addr, s Schedule) (*Holder, error) {
	all, err := listen(from, addrs)
	defer all.close()
	if err != nil {
		return nil, err
	}
	start, sent := time.Now(), 0
	for {
		now := time.Since(start)
		for sent < len(s.Send) && s.Send[sent] <= now {
			if err := all.ask(addrs); err != nil {
				return nil, err
			}
			sent++
		}
		if now >= s.Listen {
			return nil, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		until := s.Listen
		if sent < len(s.Send) {
			until = s.Send[sent]
		}
		h, err := all.hear(until-now, addrs)
		if h != nil || err != nil {
			return h, err
		}
	}
}

// Announce says, in the calling thread's network namespace, that the
// interface has the addresses.
func Announce(index int, mac net.HardwareAddr, addrs []netip.Addr) error {
	socks := &sockets{index: index, mac: mac}
	defer socks.close()
	for _, a := range addrs {
		if err := socks.open(a, 0); err != nil {
			return err
		}
	}
	return socks.send(addrs, announceFrame)
}

// maxBurst frames are read before the clock is looked at again.
const maxBurst = 256

// askers are the sockets of several interfaces.
type askers []*sockets

// sockets are an interface's packet sockets, one for each family, 0 where there
// is none.
type sockets struct {
	index  int
	mac    net.HardwareAddr
	v4, v6 int
}

// listen opens the sockets that the addresses need, to hear answers. What it
// returns is to be closed, with an error too.
func listen(from []Asker, addrs []netip.Addr) (askers, error) {
	var all askers
	for _, f := range from {
		s := &sockets{index: f.Index, mac: f.MAC}
		all = append(all, s)
		if err := f.In(func() error { return s.listen(addrs) }); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (s *sockets) listen(addrs []netip.Addr) error {
	for _, a := range addrs {
		proto := uint16(etherARP)
		if !a.Is4() {
			proto = etherIPv6
		}
		err := s.open(a, proto)
		if err == nil && !a.Is4() {
			err = s.join(allNodes, solicitedNode(a))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// open makes the socket of a's family if it is not there. A protocol of 0
// hears nothing; nor does any before it is bound, for there may be other
// interfaces.
func (s *sockets) open(a netip.Addr, proto uint16) error {
	fd := s.of(a)
	if *fd > 0 {
		return nil
	}
	n, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	*fd = n
	if proto == etherIPv6 {
		prog := unix.SockFprog{Len: uint16(len(onlyNDP)), Filter: &onlyNDP[0]}
		if err := unix.SetsockoptSockFprog(n, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
			return fmt.Errorf("filter packet socket: %w", err)
		}
	}
	if err := unix.Bind(n, &unix.SockaddrLinklayer{Protocol: htons(proto), Ifindex: s.index}); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// onlyNDP lets the frames through that parse knows: the interface may be the
// node's own, with all of its traffic.
var onlyNDP = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: etherLen + 6},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: icmpv6, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: etherLen + ipv6Len},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: typeNS, Jt: 2},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: typeNA, Jt: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
}

func (s *sockets) of(a netip.Addr) *int {
	if a.Is4() {
		return &s.v4
	}
	return &s.v6
}

// join lets the groups' frames through the interface's multicast filter.
func (s *sockets) join(groups ...netip.Addr) error {
	for _, g := range groups {
		m := unix.PacketMreq{Ifindex: int32(s.index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
		copy(m.Address[:], multicastMAC(g))
		if err := unix.SetsockoptPacketMreq(s.v6, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fmt.Errorf("join group %s: %w", g, err)
		}
	}
	return nil
}

func (all askers) close() {
	for _, s := range all {
		s.close()
	}
}

func (s *sockets) close() {
	for _, fd := range []int{s.v4, s.v6} {
		if fd > 0 {
			unix.Close(fd)
		}
	}
}

func (all askers) ask(addrs []netip.Addr) error {
	for _, s := range all {
		if err := s.send(addrs, probeFrame); err != nil {
			return err
		}
	}
	return nil
}

func (s *sockets) send(addrs []netip.Addr, frame func(net.HardwareAddr, netip.Addr) []byte) error {
	to := &unix.SockaddrLinklayer{Ifindex: s.index, Halen: 6}
	for _, a := range addrs {
		b := frame(s.mac, a)
		copy(to.Addr[:], b[:6])
		if err := unix.Sendto(*s.of(a), b, 0, to); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("send for %s: %w", a, err)
		}
	}
	return nil
}

// hear waits at most d for a frame in which another host claims one of the
// addresses.
func (all askers) hear(d time.Duration, addrs []netip.Addr) (*Holder, error) {
	var fds []unix.PollFd
	var own []net.HardwareAddr
	for _, s := range all {
		own = append(own, s.mac)
		for _, fd := range []int{s.v4, s.v6} {
			if fd > 0 {
				fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}
		}
	}
	ms := int(max(0, d.Milliseconds())) + 1
	if _, err := unix.Poll(fds, ms); err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("wait for answers: %w", err)
	}
	buf := make([]byte, 2048)
	for _, p := range fds {
		for range maxBurst {
			n, from, err := unix.Recvfrom(int(p.Fd), buf, unix.MSG_TRUNC)
			if err != nil {
				break
			}
			// Frames for others are those of VLANs that are not the interface's.
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OTHERHOST {
				continue
			}
			if h, ok := parse(buf[:min(n, len(buf))]); ok && foreign(h, own, addrs) {
				return &h, nil
			}
		}
	}
	return nil, nil
}

// foreign reports whether h has, or is about to have, one of the addresses that
// we ask for with the MACs own. A switch may send our own probes back. But we
// claim nothing while we ask: who does is another, with whatever MAC.
func foreign(h Holder, own []net.HardwareAddr, addrs []netip.Addr) bool {
	if h.asks && slices.ContainsFunc(own, func(m net.HardwareAddr) bool { return bytes.Equal(m, h.MAC) }) {
		return false
	}
	return slices.Contains(addrs, h.Addr)
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
