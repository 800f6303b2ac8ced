package hostlocal

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/cni/internal/flock"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), "lan", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func sets(t *testing.T, ranges ...string) []RangeSet {
	t.Helper()
	var out []RangeSet
	for _, r := range ranges {
		subnet, span, _ := strings.Cut(r, " ")
		start, end, _ := strings.Cut(span, "-")
		set, err := parseSet([]rawRange{{Subnet: subnet, RangeStart: start, RangeEnd: end}})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, set)
	}
	return out
}

func owner(i int) Owner { return Owner{ID: fmt.Sprintf("c%d", i), IfName: "eth0"} }

func take(t *testing.T, s *Store, pools []RangeSet, req Request) string {
	t.Helper()
	got, err := s.Allocate(pools, req)
	if err != nil {
		t.Fatal(err)
	}
	return got[0].Addr.Addr().String()
}

// TestOnDiskFormat holds the files against those the reference plugin writes.
func TestOnDiskFormat(t *testing.T) {
	s := openStore(t)
	take(t, s, sets(t, "10.9.0.0/24"), Request{Owner: owner(1)})
	for name, want := range map[string]string{"10.9.0.2": "c1\r\neth0", "last_reserved_ip.0": "10.9.0.2", "lock": ""} {
		got, err := os.ReadFile(filepath.Join(s.Dir(), name))
		if err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
}

// TestReuse: an address is used again only when no other is left, and then
// the one that was freed longest ago.
func TestReuse(t *testing.T) {
	s, pools := openStore(t), sets(t, "10.9.0.0/29") // .2 to .6
	for i := range 5 {
		take(t, s, pools, Request{Owner: owner(i)})
	}
	for n, a := range []string{"10.9.0.5", "10.9.0.3", "10.9.0.4"} {
		if err := s.remove(addr(a)); err != nil {
			t.Fatal(err)
		}
		if err := s.noteReleased([]netip.Addr{addr(a)}, time.Unix(int64(1000+n), 0)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for i := range 3 {
		got = append(got, take(t, s, pools, Request{Owner: owner(10 + i)}))
	}
	if want := []string{"10.9.0.5", "10.9.0.3", "10.9.0.4"}; !slices.Equal(got, want) {
		t.Errorf("used again in the order %v, want %v", got, want)
	}
	if _, err := s.Allocate(pools, Request{Owner: owner(20)}); !errors.Is(err, ErrExhausted) {
		t.Errorf("a sixth of five: %v", err)
	}
}

func TestWishes(t *testing.T) {
	s, pools := openStore(t), sets(t, "10.9.0.0/29")
	set := func(as ...string) map[netip.Addr]bool {
		m := map[netip.Addr]bool{}
		for _, a := range as {
			m[addr(a)] = true
		}
		return m
	}
	for i, c := range []struct {
		name string
		req  Request
		want string
	}{
		{"preferred", Request{Preferred: []netip.Addr{addr("10.9.0.4")}}, "10.9.0.4"},
		{"preferred is taken", Request{Preferred: []netip.Addr{addr("10.9.0.4")}}, "10.9.0.5"},
		{"avoided", Request{Avoid: set("10.9.0.6")}, "10.9.0.2"},
		{"never", Request{Never: set("10.9.0.3")}, "10.9.0.6"},
		{"only an avoided one is left", Request{Avoid: set("10.9.0.3")}, "10.9.0.3"},
	} {
		c.req.Owner = owner(i)
		if got := take(t, s, pools, c.req); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	s2 := openStore(t)
	for _, c := range []struct {
		name string
		req  Request
		want error
	}{
		{"another's", Request{Owner: owner(1), Requested: []netip.Addr{addr("10.9.0.9")}}, ErrNotInRange},
		{"gateway", Request{Owner: owner(1), Requested: []netip.Addr{addr("10.9.0.1")}}, ErrNotInRange},
		{"two of one range", Request{Owner: owner(1), Requested: []netip.Addr{addr("10.9.0.2"), addr("10.9.0.3")}}, ErrNotInRange},
		{"never", Request{Owner: owner(1), Requested: []netip.Addr{addr("10.9.0.2")}, Never: set("10.9.0.2")}, ErrTaken},
	} {
		if _, err := s2.Allocate(pools, c.req); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if owners, _, _ := s2.Reserved(); len(owners) != 0 {
		t.Errorf("failed requests left %v", owners)
	}
}

// TestRepair: the reference creates a reservation before it writes it, so a
// crash leaves an empty file that blocks its address for ever.
func TestRepair(t *testing.T) {
	s, pools := openStore(t), sets(t, "10.9.0.0/29")
	files := map[string]string{
		"10.9.0.2": "", "10.9.0.3": "\x00\x00\x00\x00", "10.9.0.4": "c4\r\neth0", "10.9.0.5": "old-format", "10.9.0.6": "c6\r\neth1\r\n",
		"fd00::1": "", "README": "not an address",
	}
	write := func() {
		for n, data := range files {
			if err := os.WriteFile(filepath.Join(s.Dir(), n), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	if got := take(t, s, pools, Request{Owner: owner(1), Requested: []netip.Addr{addr("10.9.0.3")}}); got != "10.9.0.3" {
		t.Errorf("requested got %s", got)
	}
	write()
	if got := take(t, s, pools, Request{Owner: owner(1)}); got != "10.9.0.2" && got != "10.9.0.3" {
		t.Errorf("of a pool full of damage got %s", got)
	}
	write()
	owners, repaired, err := s.Reserved()
	if err != nil || repaired != 3 || len(owners) != 3 {
		t.Errorf("%v, %d repaired, %v", owners, repaired, err)
	}
	if got := take(t, s, pools, Request{Owner: owner(1)}); got != "10.9.0.3" {
		t.Errorf("got %s", got)
	}
	for o, want := range map[Owner]int{{"old-format", "eth7"}: 1, {"c6", "eth0"}: 0, {"c6", "eth1"}: 1, {"c", ""}: 0} {
		if freed, err := s.Release(o); err != nil || len(freed) != want {
			t.Errorf("release of %v freed %v, want %d (%v)", o, freed, want, err)
		}
	}
}

func TestSweepBoot(t *testing.T) {
	s, pools := openStore(t), sets(t, "10.9.0.0/24")
	old, young := take(t, s, pools, Request{Owner: owner(1)}), take(t, s, pools, Request{Owner: owner(2)})
	boot := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(s.Dir(), old), boot.Add(-time.Minute), boot.Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	freed, err := s.SweepBoot(boot)
	if err != nil || len(freed) != 1 || freed[0] != addr(old) {
		t.Errorf("freed %v, %v", freed, err)
	}
	if owners, _, _ := s.Reserved(); len(owners) != 1 || owners[addr(young)] != owner(2) {
		t.Errorf("left %v", owners)
	}
}

func TestLockedByAnother(t *testing.T) {
	s := openStore(t)
	_, err := OpenExisting(filepath.Dir(s.Dir()), "lan", 20*time.Millisecond)
	if !errors.Is(err, flock.ErrBusy) {
		t.Errorf("a second holder of the lock: %v", err)
	}
	s.Close()
	again, err := OpenExisting(filepath.Dir(s.Dir()), "lan", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if none, err := OpenExisting(t.TempDir(), "none", 0); none != nil || err != nil {
		t.Errorf("a network without a directory: %v, %v", none, err)
	}
}

func TestParseConfig(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{`{"ipam":{"subnet":"10.1.2.0/24"}}`, "10.1.2.1-10.1.2.254 gw 10.1.2.1", ""},
		{`{"ipam":{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","rangeEnd":"10.1.2.20","gateway":"10.1.2.254"}}`, "10.1.2.9-10.1.2.20 gw 10.1.2.254", ""},
		{`{"ipam":{"ranges":[[{"subnet":"fd00::/64"}],[{"subnet":"10.0.0.0/22"}]]}}`, "fd00::1-fd00::ffff:ffff:ffff:ffff gw fd00::1;10.0.0.1-10.0.3.254 gw 10.0.0.1", ""},
		{`{"ipam":{"subnet":"10.1.2.0/24"},"runtimeConfig":{"ipRanges":[[{"subnet":"10.1.3.0/24"}]]}}`, "10.1.3.1-10.1.3.254 gw 10.1.3.1;10.1.2.1-10.1.2.254 gw 10.1.2.1", ""},
		{`{}`, "", `no "ipam" section`},
		{`{"ipam":{}}`, "", "no address range"},
		{`{"ipam":{"subnet":"10.1.2.1/24"}}`, "", "host bits"},
		{`{"ipam":{"subnet":"10.1.2.0/31"}}`, "", "too small"},
		{`{"ipam":{"subnet":"10.1.2.0/24","rangeStart":"10.1.3.1"}}`, "", "not in 10.1.2.0/24"},
		{`{"ipam":{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","rangeEnd":"10.1.2.8"}}`, "", "is after"},
		{`{"ipam":{"ranges":[[{"subnet":"10.1.2.0/24"},{"subnet":"fd00::/64"}]]}}`, "", "IPv4 and IPv6"},
		{`{"ipam":{"ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"10.1.0.0/16"}]]}}`, "", "overlap"},
		{`{"ipam":{"subnet":"::ffff:10.1.2.0/120"}}`, "", "written as IPv6"},
		{`{"ipam":{"subnet":"10.1.2.0/24"},"runtimeConfig":{"ips":["x"]}}`, "", "not an IP address"},
	} {
		got, err := ParseConfig([]byte(c.in), nil)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want an error with %q", c.in, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		var texts []string
		for _, s := range got.Sets {
			texts = append(texts, s.String()+" gw "+s[0].Gateway.String())
		}
		if text := strings.Join(texts, ";"); text != c.want {
			t.Errorf("%s: %s, want %s", c.in, text, c.want)
		}
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]uint64{
		"10.9.0.0/24": 253, "10.9.0.0/24 10.9.0.10-10.9.0.19": 10, "10.9.0.0/30": 1, "fd00::/120": 254, "fd00::/48": 1 << 62, "fd00::/64": 1 << 62,
	} {
		if got := sets(t, in)[0][0].Size(); got != want {
			t.Errorf("%s: %d, want %d", in, got, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"ipam":{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","rangeEnd":"10.1.2.20","gateway":"10.1.2.254"}}`), "10.1.2.3")
	f.Add([]byte(`{"ipam":{"ranges":[[{"subnet":"fd00::/64"}],[{"subnet":"10.0.0.0/22"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`), "fd00::5/64")
	f.Fuzz(func(t *testing.T, data []byte, ip string) {
		c, err := ParseConfig(data, []string{ip})
		if err != nil {
			return
		}
		for _, s := range c.Sets {
			for _, r := range s {
				if r.End.Less(r.Start) || !r.Subnet.Contains(r.Start) || !r.Subnet.Contains(r.End) || r.Size() > 1<<62 {
					t.Errorf("range %v of %s", r, data)
				}
			}
		}
	})
}

func FuzzParseOwner(f *testing.F) {
	f.Add([]byte("c1\r\neth0"))
	f.Add([]byte("c1"))
	f.Add([]byte("\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, ok := parseOwner(data)
		if ok && (o.ID == "" || strings.ContainsAny(o.ID, "\r\n\x00/ ")) {
			t.Errorf("%q has the owner %q", data, o.ID)
		}
	})
}

func FuzzParseReleased(f *testing.F) {
	f.Add([]byte("10.0.0.1 5\nfd00::1 7\n10.0.0.1 3\ncut"))
	f.Fuzz(func(_ *testing.T, data []byte) { parseReleased(data) })
}

func TestParseReleased(t *testing.T) {
	got := parseReleased([]byte("10.0.0.1 5\nfd00::1 7\nnonsense\n10.0.0.1 3\n10.0.0.2 x\n10.0.0.3"))
	if len(got) != 2 || got[addr("10.0.0.1")] != 5 || got[addr("fd00::1")] != 7 {
		t.Errorf("got %v", got)
	}
}

// TestReleasedLogStaysSmall frees more often than the log holds.
func TestReleasedLogStaysSmall(t *testing.T) {
	s := openStore(t)
	for i := range 6000 {
		a := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
		if err := s.noteReleased([]netip.Addr{a}, time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	fi, err := os.Stat(filepath.Join(s.Dir(), releasedFile))
	if err != nil || fi.Size() > maxReleased+100 {
		t.Errorf("the log has %d bytes, %v", fi.Size(), err)
	}
	if at := s.released()[netip.AddrFrom4([4]byte{10, 9, 5999 >> 8, 5999 & 255})]; at != 5999 {
		t.Errorf("the newest line says %d", at)
	}
}

// TestReleasedLogKeepsEachAddress: a pool that is used over and over keeps the
// time of every address, however often the busiest are freed.
func TestReleasedLogKeepsEachAddress(t *testing.T) {
	got := newestLines("10.0.0.1 1\n10.0.0.2 2\n10.0.0.3 3\n10.0.0.2 4\n10.0.0.2 5\ncut", 2)
	if want := "10.0.0.3 3\n10.0.0.2 5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
