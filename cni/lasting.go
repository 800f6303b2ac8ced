package cni

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/internal/file"
	"github.com/truesize/truesize/cni/state"
)

// conflictTTL is how long an address found to be another host's is left
// alone before it is tried again.
const conflictTTL = 10 * time.Minute

// The files of a network's lasting state, read and written under the lock of
// its address store. A damaged one is advice lost, not a reason to refuse a
// pod: it is read as empty and written anew.
const (
	stickyFile   = "sticky.json"
	conflictFile = "conflicts.json"
	bootFile     = "boot"
)

// A stickyEntry is what a pod of one namespace, name and interface has, or
// had until Last.
type stickyEntry struct {
	Addrs []netip.Addr `json:"addrs"`
	Last  time.Time    `json:"last"`
	Until time.Time    `json:"until"`          // end of the claim
	Held  string       `json:"held,omitempty"` // container that has them now
}

// sticky reports whether this pod's addresses are kept for its successor.
func (c *call) sticky() bool { return c.conf.Sticky > 0 && c.conf.pod.Name != "" }

func stickyName(pod state.Pod, ifname string) string {
	return pod.Namespace + "/" + pod.Name + "/" + ifname
}

func (c *engine) networkFile(network, name string) string {
	return filepath.Join(c.dir.NetworkDir(network), name)
}

// readSticky returns the addresses kept for this pod, and those for others.
func (c *call) readSticky() (own []netip.Addr, others map[netip.Addr]bool, err error) {
	if c.conf.Sticky == 0 {
		return nil, nil, nil
	}
	entries, err := readMap[stickyEntry](c.networkFile(c.key.Network, stickyFile))
	if err != nil {
		return nil, nil, err
	}
	others = map[netip.Addr]bool{}
	for name, e := range entries {
		switch {
		case c.sticky() && name == stickyName(c.conf.pod, c.key.IfName):
			own = e.Addrs
		case time.Now().Before(e.Until):
			for _, a := range e.Addrs {
				others[a] = true
			}
		}
	}
	return own, others, nil
}

// noteSticky keeps the addresses for the pod's successors.
func (c *call) noteSticky(prefixes []netip.Prefix) error {
	if !c.sticky() {
		return nil
	}
	return c.changeSticky(func(entries map[string]stickyEntry) {
		now := time.Now().UTC()
		entries[stickyName(c.conf.pod, c.key.IfName)] = stickyEntry{
			Addrs: addrsOf(prefixes), Last: now, Until: now.Add(time.Duration(c.conf.Sticky)), Held: c.key.ContainerID,
		}
	})
}

// touchSticky starts the time for which a pod's addresses are kept: it has
// gone now.
func (c *engine) touchSticky(rec *state.Attachment, now time.Time) error {
	path := filepath.Join(c.dir.NetworkDir(rec.Network), stickyFile)
	entries, err := readMap[stickyEntry](path)
	if err != nil {
		return err
	}
	name := stickyName(rec.Pod, rec.IfName)
	e, ok := entries[name]
	if !ok || e.Held != rec.ContainerID {
		return nil // the successor is there already
	}
	e.Until = now.UTC().Add(e.Until.Sub(e.Last))
	e.Last, e.Held = now.UTC(), ""
	entries[name] = e
	return writeMap(path, entries)
}

// changeSticky changes the entries and drops those that are over.
func (c *call) changeSticky(change func(map[string]stickyEntry)) error {
	path := c.networkFile(c.key.Network, stickyFile)
	entries, err := readMap[stickyEntry](path)
	if err != nil {
		return err
	}
	for name, e := range entries {
		if e.Held == "" && time.Now().After(e.Until) {
			delete(entries, name)
		}
	}
	change(entries)
	return writeMap(path, entries)
}

// unholdSticky starts the time of the entries whose holders are gone.
func (c *engine) unholdSticky(network string, freed []netip.Addr) error {
	gone := map[netip.Addr]bool{}
	for _, a := range freed {
		gone[a] = true
	}
	path := c.networkFile(network, stickyFile)
	entries, err := readMap[stickyEntry](path)
	if err != nil || len(entries) == 0 {
		return err
	}
	now := time.Now().UTC()
	for name, e := range entries {
		if e.Held != "" && len(e.Addrs) > 0 && gone[e.Addrs[0]] {
			e.Until = now.Add(e.Until.Sub(e.Last))
			e.Last, e.Held = now, ""
			entries[name] = e
		}
	}
	return writeMap(path, entries)
}

// A conflictEntry is an address that another host of the network has.
type conflictEntry struct {
	MAC   string    `json:"mac"`
	Until time.Time `json:"until"`
}

// readConflicts returns the addresses known to be other hosts'.
func (c *call) readConflicts() (map[netip.Addr]bool, error) {
	never := map[netip.Addr]bool{}
	entries, err := readMap[conflictEntry](c.networkFile(c.key.Network, conflictFile))
	if err != nil {
		return nil, err
	}
	for s, e := range entries {
		if a, err := netip.ParseAddr(s); err == nil && time.Now().Before(e.Until) {
			never[a] = true
		}
	}
	return never, nil
}

// noteConflict remembers that the address is another host's.
func (c *call) noteConflict(found *conflict) error {
	local, err := c.localConfig()
	if err != nil {
		return err
	}
	store, err := hostlocal.Open(local.DataDir, c.key.Network, lockWait)
	if err != nil {
		return err
	}
	defer store.Close()
	path := c.networkFile(c.key.Network, conflictFile)
	entries, err := readMap[conflictEntry](path)
	if err != nil {
		return err
	}
	for s, e := range entries {
		if time.Now().After(e.Until) {
			delete(entries, s)
		}
	}
	entries[found.Addr.String()] = conflictEntry{MAC: found.MAC.String(), Until: time.Now().UTC().Add(conflictTTL)}
	return writeMap(path, entries)
}

// sweepBoot frees, once after a boot, the addresses reserved before it: their
// containers are gone, and a runtime that lost its own state in the crash
// would never say so. The first use of a network sweeps nothing: reservations
// of the reference plugin's running pods may be there.
func (c *engine) sweepBoot(network string, store *hostlocal.Store) error {
	path := c.networkFile(network, bootFile)
	seen, err := file.Read(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if string(seen) == c.dir.BootID {
		return nil
	}
	if len(seen) > 0 {
		freed, err := store.SweepBoot(state.BootTime())
		if err == nil && len(freed) > 0 {
			err = c.unholdSticky(network, freed)
		}
		if err != nil {
			return err
		}
	}
	return state.WriteFile(path, []byte(c.dir.BootID), true)
}

// readMap reads a JSON object; no file, or a damaged one, is an empty one.
func readMap[T any](path string) (map[string]T, error) {
	data, err := file.Read(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	m := map[string]T{}
	if json.Unmarshal(data, &m) != nil || m == nil {
		m = map[string]T{}
	}
	return m, nil
}

func writeMap[T any](path string, m map[string]T) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return state.WriteFile(path, data, true)
}
