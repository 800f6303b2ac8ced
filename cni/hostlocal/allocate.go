package hostlocal

import (
	"errors"
	"fmt"
	"net/netip"
)

var (
	// ErrExhausted says that a pool has no free address.
	ErrExhausted = errors.New("no free address")
	// ErrTaken says that a requested address is someone else's.
	ErrTaken = errors.New("the requested address is in use")
	// ErrNotInRange says that a requested address is in no range, or is a
	// gateway's.
	ErrNotInRange = errors.New("the requested address cannot be allocated")
)

// A Request is what one container wants.
type Request struct {
	Owner     Owner
	Requested []netip.Addr        // must be given, or the request fails
	Preferred []netip.Addr        // are given when free
	Avoid     map[netip.Addr]bool // are given only when nothing else is free
	Never     map[netip.Addr]bool // are not given, whatever is free
}

// An Allocation is one address given to a container.
type Allocation struct {
	Addr    netip.Prefix // with the length of the range's subnet
	Gateway netip.Addr
}

// Allocate reserves an address of each set for the request's owner, or none
// and an error. It goes by the names of the reservations and reads those only
// that are in its way: a node has hundreds.
func (s *Store) Allocate(sets []RangeSet, req Request) (_ []Allocation, err error) {
	taken, err := s.taken()
	if err != nil {
		return nil, err
	}
	p := picker{taken: taken, holder: s.holder, released: s.released(), req: req}
	var got []Allocation
	defer func() {
		if err != nil {
			for _, g := range got {
				_ = s.remove(g.Addr.Addr())
			}
		}
	}()
	wanted := append([]netip.Addr(nil), req.Requested...)
	for i, set := range sets {
		a, r, err := p.pick(set, s.last(i), &wanted)
		if errors.Is(err, ErrExhausted) {
			// Damaged reservations may be what uses the pool up.
			if err := s.repairTaken(p.taken); err != nil {
				return nil, err
			}
			a, r, err = p.pick(set, s.last(i), &wanted)
		}
		if err != nil {
			return nil, err
		}
		if err := s.reserve(a, req.Owner); err != nil {
			return nil, err
		}
		got = append(got, Allocation{Addr: netip.PrefixFrom(a, r.Subnet.Bits()), Gateway: r.Gateway})
		s.setLast(i, a)
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("%w: %v is in none of the ranges, or a second one of its range", ErrNotInRange, wanted)
	}
	return got, nil
}

// picker chooses addresses.
type picker struct {
	taken    map[netip.Addr]bool
	holder   func(netip.Addr) (Owner, bool) // of a taken address
	released map[netip.Addr]int64
	req      Request
}

// pick chooses an address of set: the one in wanted, which it takes out of
// there, else a preferred one, else the next free one after last.
func (p *picker) pick(set RangeSet, last netip.Addr, wanted *[]netip.Addr) (netip.Addr, Range, error) {
	for i, a := range *wanted {
		if r, ok := set.Find(a); ok {
			*wanted = append((*wanted)[:i:i], (*wanted)[i+1:]...)
			return a, r, p.check(a, r)
		}
	}
	for _, a := range p.req.Preferred {
		if r, ok := set.Find(a); ok && p.check(a, r) == nil {
			return a, r, nil
		}
	}
	a, r, ok := p.next(set, last)
	if !ok {
		return a, r, fmt.Errorf("%w in %s", ErrExhausted, set)
	}
	return a, r, nil
}

// check says why the asked-for address a cannot be given.
func (p *picker) check(a netip.Addr, r Range) error {
	if a == r.Gateway {
		return fmt.Errorf("%w: %s is the gateway of %s", ErrNotInRange, a, r.Subnet)
	}
	if p.taken[a] {
		if o, ok := p.holder(a); ok {
			return fmt.Errorf("%w: %s is held by container %.13s", ErrTaken, a, o.ID)
		}
	}
	if p.req.Never[a] {
		return fmt.Errorf("%w: %s is held by another host of the network", ErrTaken, a)
	}
	return nil
}

// next walks the set round from last. The first address that was never used,
// as far as the released log knows, is taken at once; else the one that was
// freed longest ago; one of Avoid only when no other is free.
func (p *picker) next(set RangeSet, last netip.Addr) (netip.Addr, Range, bool) {
	var best netip.Addr
	var bestRange Range
	w := walk{set: set}
	w.start(last)
	// Among so many addresses one is unused, if the set is large enough.
	limit := len(p.taken) + len(p.released) + len(p.req.Avoid) + len(p.req.Never) + len(set) + 1
	for range limit {
		a, r, ok := w.next()
		if !ok {
			break
		}
		if a == r.Gateway || p.taken[a] || p.req.Never[a] {
			continue
		}
		if _, used := p.released[a]; !used && !p.req.Avoid[a] {
			return a, r, true
		}
		if !best.IsValid() || p.better(a, best) {
			best, bestRange = a, r
		}
	}
	return best, bestRange, best.IsValid()
}

// better reports whether a should be used again before b.
func (p *picker) better(a, b netip.Addr) bool {
	if p.req.Avoid[a] != p.req.Avoid[b] {
		return p.req.Avoid[b]
	}
	return p.released[a] < p.released[b]
}

// walk goes once round a set's addresses.
type walk struct {
	set   RangeSet
	i     int
	cur   netip.Addr
	first netip.Addr
}

// start places the walk so that the first address is the one after last.
func (w *walk) start(last netip.Addr) {
	for i, r := range w.set {
		if r.Contains(last) {
			w.i, w.cur = i, last
			w.advance()
			return
		}
	}
	w.i, w.cur = 0, w.set[0].Start
}

func (w *walk) advance() {
	if w.cur == w.set[w.i].End {
		w.i = (w.i + 1) % len(w.set)
		w.cur = w.set[w.i].Start
		return
	}
	w.cur = w.cur.Next()
}

func (w *walk) next() (netip.Addr, Range, bool) {
	a, r := w.cur, w.set[w.i]
	if a == w.first {
		return a, r, false
	}
	if !w.first.IsValid() {
		w.first = a
	}
	w.advance()
	return a, r, true
}

// Available returns an error wrapping [ErrExhausted] if a set has no address
// to give. It reserves nothing.
func (s *Store) Available(sets []RangeSet, never map[netip.Addr]bool) error {
	owners, _, err := s.Reserved()
	if err != nil {
		return err
	}
	p := picker{taken: map[netip.Addr]bool{}, req: Request{Never: never}}
	for a := range owners {
		p.taken[a] = true
	}
	for i, set := range sets {
		if _, _, ok := p.next(set, s.last(i)); !ok {
			return fmt.Errorf("%w in %s", ErrExhausted, set)
		}
	}
	return nil
}
