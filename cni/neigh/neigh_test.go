package neigh

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var mac = net.HardwareAddr{2, 0, 0, 0, 0, 7}

// TestFrames holds our frames against bytes worked out from the standards,
// the ICMPv6 checksums included.
func TestFrames(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd09::a:b0c")
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"ARP probe", probeFrame(mac, v4), "ffffffffffff 020000000007 0806 0001 0800 06 04 0001 020000000007 00000000 000000000000 0a090002"},
		{"ARP announcement", announceFrame(mac, v4), "ffffffffffff 020000000007 0806 0001 0800 06 04 0001 020000000007 0a090002 000000000000 0a090002"},
		{"DAD solicitation", probeFrame(mac, v6), "3333ff0a0b0c 020000000007 86dd 60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff0a0b0c 87 00 6772 00000000 fd0900000000000000000000000a0b0c"},
		{"unsolicited advertisement", announceFrame(mac, v6), "333300000001 020000000007 86dd 60000000 0020 3a ff fd0900000000000000000000000a0b0c ff020000000000000000000000000001 88 00 4459 20000000 fd0900000000000000000000000a0b0c 02 01 020000000007"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(c.got) != hex.EncodeToString(want) {
			t.Errorf("%s:\n got %x\nwant %x", c.name, c.got, want)
		}
	}
}

// TestChecksum: the sum over pseudo-header and message with its checksum in
// place is all ones, by whatever way it was computed.
func TestChecksum(t *testing.T) {
	f := announceFrame(mac, netip.MustParseAddr("fd09::1"))
	src, dst := netip.AddrFrom16([16]byte(f[22:38])), netip.AddrFrom16([16]byte(f[38:54]))
	if sum := checksum(src, dst, f[54:]); sum != 0 {
		t.Errorf("checksum over a message with its checksum is %#x, want 0", sum)
	}
}

func TestParse(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd09::2")
	edit := func(f []byte, at int, b byte) []byte {
		f = append([]byte(nil), f...)
		f[at] = b
		return f
	}
	for _, c := range []struct {
		name string
		in   []byte
		want netip.Addr // not valid for no claim
	}{
		{"ARP probe", probeFrame(mac, v4), v4},
		{"ARP announcement", announceFrame(mac, v4), v4},
		{"ARP reply", edit(arpFrame(mac, v4, netip.MustParseAddr("10.9.0.9")), 21, 2), v4},
		{"reply without a sender", edit(probeFrame(mac, v4), 21, 2), netip.Addr{}},
		{"ARP of another hardware", edit(probeFrame(mac, v4), 15, 6), netip.Addr{}},
		{"DAD solicitation", probeFrame(mac, v6), v6},
		{"advertisement", announceFrame(mac, v6), v6},
		{"solicitation of a neighbour", ndpFrame(mac, netip.MustParseAddr("fd09::9"), solicitedNode(v6), typeNS, 0, v6, nil), netip.Addr{}},
		{"routed advertisement", edit(announceFrame(mac, v6), 21, 254), netip.Addr{}},
		{"advertisement of code 1", edit(announceFrame(mac, v6), 55, 1), netip.Addr{}},
		{"cut ARP", probeFrame(mac, v4)[:41], netip.Addr{}},
		{"cut advertisement", announceFrame(mac, v6)[:77], netip.Addr{}},
		{"IPv4", edit(probeFrame(mac, v4), 13, 0), netip.Addr{}},
		{"nothing", nil, netip.Addr{}},
	} {
		h, ok := parse(c.in)
		if ok != c.want.IsValid() || ok && (h.Addr != c.want || h.MAC.String() != mac.String()) {
			t.Errorf("%s: %v %v, want %v", c.name, h, ok, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, a := range []string{"10.9.0.2", "fd09::2"} {
		f.Add(probeFrame(mac, netip.MustParseAddr(a)))
		f.Add(announceFrame(mac, netip.MustParseAddr(a)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, ok := parse(b); ok && (!h.Addr.IsValid() || len(h.MAC) != 6) {
			t.Errorf("%x: %v", b, h)
		}
	})
}

func TestForeign(t *testing.T) {
	a, other := netip.MustParseAddr("10.9.0.2"), net.HardwareAddr{2, 0, 0, 0, 0, 8}
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"another holder", announceFrame(other, a), true},
		{"another asks too", probeFrame(other, a), true},
		{"our own question", probeFrame(mac, a), false},
		{"a holder with our MAC", announceFrame(mac, a), true},
		{"of another address", announceFrame(other, netip.MustParseAddr("10.9.0.3")), false},
	} {
		h, ok := parse(c.frame)
		if got := ok && foreign(h, []net.HardwareAddr{{2, 0, 0, 0, 0, 6}, mac}, []netip.Addr{a}); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestSchedules(t *testing.T) {
	if s := Fast(); s.Listen.Milliseconds() != 100 || s.Send[0] != 0 {
		t.Errorf("fast is %v", s)
	}
	s := Full()
	for i := 1; i < 3; i++ {
		if gap := (s.Send[i] - s.Send[i-1]).Seconds(); gap < 1 || gap > 2 {
			t.Errorf("probes are %v apart", gap)
		}
	}
	if s.Send[0].Seconds() > 1 || (s.Listen-s.Send[2]).Seconds() != 2 {
		t.Errorf("full is %v", s)
	}
}
