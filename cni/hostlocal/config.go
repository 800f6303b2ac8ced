// Package hostlocal allocates addresses from ranges of the node's own, in
// process and on the on-disk format of the reference host-local IPAM plugin
// (github.com/containernetworking/plugins, plugins/ipam/host-local): one file
// per reserved address, named by the address, holding container id and
// interface name; the last address of each range set beside it; one flock.
// Both programs may therefore work on one directory, and a node may change
// from one to the other and back with its pods running.
//
// The package knows files and addresses. It imports nothing of the kernel's
// network interfaces and nothing of the plugin.
package hostlocal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
)

// DefaultDataDir is where the reference plugin keeps its networks.
const DefaultDataDir = "/var/lib/cni/networks"

// A Range is a run of addresses of one subnet, both ends included.
type Range struct {
	Subnet  netip.Prefix
	Start   netip.Addr
	End     netip.Addr
	Gateway netip.Addr // never allocated
}

// A RangeSet is a pool: ranges of one family that do not overlap. A container
// gets one address of each set.
type RangeSet []Range

// Config is the `ipam` section of a network's configuration with what the
// runtime asked for.
type Config struct {
	DataDir    string // directory of network directories
	ResolvConf string // file to take the result's DNS from; empty for none
	Routes     []*types.Route
	Sets       []RangeSet
	Requested  []netip.Addr // addresses asked for by CNI_ARGS, args or capability
}

// rawRange is a Range as it is written in a configuration.
type rawRange struct {
	RangeStart string `json:"rangeStart,omitempty"`
	RangeEnd   string `json:"rangeEnd,omitempty"`
	Subnet     string `json:"subnet,omitempty"`
	Gateway    string `json:"gateway,omitempty"`
}

type rawNet struct {
	IPAM *struct {
		rawRange
		Routes     []*types.Route `json:"routes"`
		DataDir    string         `json:"dataDir"`
		ResolvConf string         `json:"resolvConf"`
		Ranges     [][]rawRange   `json:"ranges"`
	} `json:"ipam"`
	RuntimeConfig struct {
		IPRanges [][]rawRange `json:"ipRanges,omitempty"`
		IPs      []string     `json:"ips,omitempty"`
	} `json:"runtimeConfig,omitempty"`
	Args *struct {
		CNI *struct {
			IPs []string `json:"ips"`
		} `json:"cni"`
	} `json:"args"`
}

// ParseConfig reads the network configuration data, and adds requested, the
// addresses that were asked for outside of it, to those asked for inside.
// Ranges given by the runtime come before those of the configuration.
func ParseConfig(data []byte, requested []string) (*Config, error) {
	var raw rawNet
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("decode ipam configuration: %w", err)
	}
	if raw.IPAM == nil {
		return nil, errors.New(`the configuration has no "ipam" section`)
	}
	c := &Config{DataDir: raw.IPAM.DataDir, ResolvConf: raw.IPAM.ResolvConf, Routes: raw.IPAM.Routes}
	if c.DataDir == "" {
		c.DataDir = DefaultDataDir
	}
	sets := raw.RuntimeConfig.IPRanges
	if raw.IPAM.Subnet != "" {
		sets = append(sets, []rawRange{raw.IPAM.rawRange})
	}
	sets = append(sets, raw.IPAM.Ranges...)
	if err := c.addSets(sets); err != nil {
		return nil, err
	}
	all := append([]string(nil), requested...)
	if raw.Args != nil && raw.Args.CNI != nil {
		all = append(all, raw.Args.CNI.IPs...)
	}
	return c, c.addRequested(append(all, raw.RuntimeConfig.IPs...))
}

func (c *Config) addSets(sets [][]rawRange) error {
	if len(sets) == 0 {
		return errors.New(`no address range: set ipam.subnet, or ipam.ranges to [[{"subnet": "10.0.0.0/24"}]]`)
	}
	for i, raws := range sets {
		set, err := parseSet(raws)
		if err != nil {
			return fmt.Errorf("range set %d: %w", i, err)
		}
		for j, other := range c.Sets {
			if other.overlaps(set) {
				return fmt.Errorf("range sets %d and %d overlap", j, i)
			}
		}
		c.Sets = append(c.Sets, set)
	}
	return nil
}

// addRequested adds the addresses once each; they may carry a prefix length,
// which the range decides anyway.
func (c *Config) addRequested(list []string) error {
	seen := map[netip.Addr]bool{}
	for _, s := range list {
		a, err := parseAddrOrPrefix(s)
		if err != nil {
			return err
		}
		if !seen[a] {
			seen[a] = true
			c.Requested = append(c.Requested, a)
		}
	}
	return nil
}

func parseAddrOrPrefix(s string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Addr().Unmap(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("requested address %.64q is not an IP address", s)
	}
	return a.Unmap(), nil
}

func parseSet(raws []rawRange) (RangeSet, error) {
	if len(raws) == 0 {
		return nil, errors.New("empty range set")
	}
	var set RangeSet
	for _, raw := range raws {
		r, err := parseRange(raw)
		if err != nil {
			return nil, err
		}
		for _, other := range set {
			if other.Start.Is4() != r.Start.Is4() {
				return nil, errors.New("IPv4 and IPv6 ranges in one set; give each family a set of its own")
			}
			if other.overlaps(r) {
				return nil, fmt.Errorf("ranges %s and %s overlap", other, r)
			}
		}
		set = append(set, r)
	}
	return set, nil
}

func parseRange(raw rawRange) (Range, error) {
	p, err := netip.ParsePrefix(raw.Subnet)
	if err != nil {
		return Range{}, fmt.Errorf("subnet %.64q is not of the form 10.0.0.0/24", raw.Subnet)
	}
	if p.Addr().Is4In6() {
		return Range{}, fmt.Errorf("subnet %s is an IPv4 network written as IPv6", p)
	}
	if p.Bits() > p.Addr().BitLen()-2 {
		return Range{}, fmt.Errorf("subnet %s is too small to allocate from", p)
	}
	if p != p.Masked() {
		return Range{}, fmt.Errorf("subnet %s has host bits set; the network is %s", p, p.Masked())
	}
	r := Range{Subnet: p, Start: p.Addr().Next(), End: lastAddr(p), Gateway: p.Addr().Next()}
	for _, f := range []struct {
		name, value string
		to          *netip.Addr
		inside      bool
	}{
		{"gateway", raw.Gateway, &r.Gateway, false},
		{"rangeStart", raw.RangeStart, &r.Start, true},
		{"rangeEnd", raw.RangeEnd, &r.End, true},
	} {
		if err := setAddr(f.to, f.name, f.value, p, f.inside); err != nil {
			return Range{}, err
		}
	}
	if r.End.Less(r.Start) {
		return Range{}, fmt.Errorf("rangeStart %s is after rangeEnd %s", r.Start, r.End)
	}
	return r, nil
}

func setAddr(to *netip.Addr, name, value string, subnet netip.Prefix, inside bool) error {
	if value == "" {
		return nil
	}
	a, err := netip.ParseAddr(value)
	if err != nil || a.Zone() != "" {
		return fmt.Errorf("%s %.64q is not an IP address", name, value)
	}
	a = a.Unmap()
	if inside && !subnet.Contains(a) {
		return fmt.Errorf("%s %s is not in %s", name, a, subnet)
	}
	*to = a
	return nil
}

// lastAddr is the last address of p that a host may have: for IPv4 the one
// before the broadcast address.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		host := max(0, min(8, (i+1)*8-p.Bits()))
		b[i] |= byte(1<<host - 1)
	}
	a, _ := netip.AddrFromSlice(b)
	if a.Is4() {
		return a.Prev()
	}
	return a
}

// Contains reports whether a is one of the range's addresses.
func (r Range) Contains(a netip.Addr) bool {
	return r.Subnet.Contains(a) && !a.Less(r.Start) && !r.End.Less(a)
}

func (r Range) overlaps(o Range) bool {
	return r.Start.Is4() == o.Start.Is4() && !r.End.Less(o.Start) && !o.End.Less(r.Start)
}

// String returns "start-end".
func (r Range) String() string { return r.Start.String() + "-" + r.End.String() }

func (s RangeSet) overlaps(o RangeSet) bool {
	for _, a := range s {
		for _, b := range o {
			if a.overlaps(b) {
				return true
			}
		}
	}
	return false
}

// Find returns the range of the set that holds a.
func (s RangeSet) Find(a netip.Addr) (Range, bool) {
	for _, r := range s {
		if r.Contains(a) {
			return r, true
		}
	}
	return Range{}, false
}

// String lists the ranges.
func (s RangeSet) String() string {
	out := ""
	for i, r := range s {
		if i > 0 {
			out += ","
		}
		out += r.String()
	}
	return out
}

// Size is the number of addresses of the range that can be allocated, at most
// 2^62.
func (r Range) Size() uint64 {
	start, end := r.Start.As16(), r.End.As16()
	if [8]byte(start[:8]) != [8]byte(end[:8]) {
		return 1 << 62
	}
	n := binary.BigEndian.Uint64(end[8:]) - binary.BigEndian.Uint64(start[8:])
	if n >= 1<<62 {
		return 1 << 62
	}
	n++
	if r.Contains(r.Gateway) {
		n--
	}
	return n
}

// Usage is how many addresses of some pools are reserved and how many are not.
type Usage struct{ InUse, Free uint64 }

// Usage counts, for IPv4 (index 0) and IPv6 (index 1), the sets' addresses.
func (s *Store) Usage(sets []RangeSet) ([2]Usage, error) {
	var u [2]Usage
	owners, _, err := s.Reserved()
	if err != nil {
		return u, err
	}
	for _, set := range sets {
		size, used := uint64(0), uint64(0)
		for _, r := range set {
			size = min(size+r.Size(), 1<<62)
		}
		for a := range owners {
			if _, ok := set.Find(a); ok {
				used++
			}
		}
		f := 0
		if set[0].Start.Is6() {
			f = 1
		}
		u[f].InUse += used
		u[f].Free += size - min(size, used)
	}
	return u, nil
}
