package neigh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
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

// Probe asks whether another host has one of the addresses, all at once, from
// the interface of that index and MAC, which is up. It returns the first
// holder it hears of, or nil after the schedule's silence. It works in the
// calling thread's network namespace.
func Probe(ctx context.Context, index int, mac net.HardwareAddr, addrs []netip.Addr, s Schedule) (*Holder, error) {
	socks, err := listen(index, addrs)
	if err != nil {
		return nil, err
	}
	defer socks.close()
	start, sent := time.Now(), 0
	for {
		now := time.Since(start)
		for sent < len(s.Send) && s.Send[sent] <= now {
			if err := socks.send(index, mac, addrs, probeFrame); err != nil {
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
		h, err := socks.hear(until-now, mac, addrs)
		if h != nil || err != nil {
			return h, err
		}
	}
}

// Announce says, in the calling thread's network namespace, that the
// interface has the addresses.
func Announce(index int, mac net.HardwareAddr, addrs []netip.Addr) error {
	socks := &sockets{}
	defer socks.close()
	for _, a := range addrs {
		if err := socks.open(a, index, 0); err != nil {
			return err
		}
	}
	return socks.send(index, mac, addrs, announceFrame)
}

// maxBurst frames are read before the clock is looked at again.
const maxBurst = 256

// sockets are a packet socket for each family, -1 or 0 where there is none.
type sockets struct{ v4, v6 int }

// listen opens the sockets that the addresses need, to hear answers.
func listen(index int, addrs []netip.Addr) (*sockets, error) {
	s := &sockets{}
	for _, a := range addrs {
		proto := uint16(etherARP)
		if !a.Is4() {
			proto = etherIPv6
		}
		err := s.open(a, index, proto)
		if err == nil && !a.Is4() {
			err = s.join(index, allNodes, solicitedNode(a))
		}
		if err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// open makes the socket of a's family if it is not there. A protocol of 0
// hears nothing.
func (s *sockets) open(a netip.Addr, index int, proto uint16) error {
	fd := s.of(a)
	if *fd > 0 {
		return nil
	}
	n, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(htons(proto)))
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	*fd = n
	if err := unix.Bind(n, &unix.SockaddrLinklayer{Protocol: htons(proto), Ifindex: index}); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

func (s *sockets) of(a netip.Addr) *int {
	if a.Is4() {
		return &s.v4
	}
	return &s.v6
}

// join lets the groups' frames through the interface's multicast filter.
func (s *sockets) join(index int, groups ...netip.Addr) error {
	for _, g := range groups {
		m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
		copy(m.Address[:], multicastMAC(g))
		if err := unix.SetsockoptPacketMreq(s.v6, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fmt.Errorf("join group %s: %w", g, err)
		}
	}
	return nil
}

func (s *sockets) close() {
	for _, fd := range []int{s.v4, s.v6} {
		if fd > 0 {
			unix.Close(fd)
		}
	}
}

func (s *sockets) send(index int, mac net.HardwareAddr, addrs []netip.Addr, frame func(net.HardwareAddr, netip.Addr) []byte) error {
	to := &unix.SockaddrLinklayer{Ifindex: index, Halen: 6}
	for _, a := range addrs {
		b := frame(mac, a)
		copy(to.Addr[:], b[:6])
		if err := unix.Sendto(*s.of(a), b, 0, to); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("send for %s: %w", a, err)
		}
	}
	return nil
}

// hear waits at most d for a frame in which another than mac claims one of
// the addresses.
func (s *sockets) hear(d time.Duration, mac net.HardwareAddr, addrs []netip.Addr) (*Holder, error) {
	var fds []unix.PollFd
	for _, fd := range []int{s.v4, s.v6} {
		if fd > 0 {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	ms := int(max(0, d.Milliseconds())) + 1
	if _, err := unix.Poll(fds, ms); err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("wait for answers: %w", err)
	}
	buf := make([]byte, 2048)
	for _, p := range fds {
		for range maxBurst {
			n, _, err := unix.Recvfrom(int(p.Fd), buf, unix.MSG_TRUNC)
			if err != nil {
				break
			}
			if h, ok := parse(buf[:min(n, len(buf))]); ok && foreign(h, mac, addrs) {
				return &h, nil
			}
		}
	}
	return nil, nil
}

func foreign(h Holder, mac net.HardwareAddr, addrs []netip.Addr) bool {
	if bytes.Equal(h.MAC, mac) {
		return false
	}
	for _, a := range addrs {
		if a == h.Addr {
			return true
		}
	}
	return false
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
