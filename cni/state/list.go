package state

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Networks lists the networks of which anything is recorded.
func (d *Dir) Networks() ([]string, error) {
	seen := map[string]bool{}
	var names []string
	for _, dir := range []string{
		filepath.Join(d.Run, "attachments"), filepath.Join(d.State, "leases"), filepath.Join(d.State, "networks"),
	} {
		list, err := readNames(dir)
		if err != nil {
			return nil, err
		}
		for _, n := range list {
			if !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	return names, nil
}

// List returns the keys recorded for network, whether the records can be read
// or not. Keys whose container id was too long for a file name are found in
// the record only.
func (d *Dir) List(network string) ([]Key, error) {
	seen := map[Key]bool{}
	var keys []Key
	for _, base := range []string{filepath.Join(d.Run, "attachments"), filepath.Join(d.State, "leases")} {
		dir := filepath.Join(base, network)
		names, err := readNames(dir)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			k, ok := keyOf(dir, network, n)
			if ok && !seen[k] {
				seen[k] = true
				keys = append(keys, k)
			}
		}
	}
	return keys, nil
}

func keyOf(dir, network, name string) (Key, bool) {
	id, ifname, ok := strings.Cut(name, "@")
	if !ok || strings.HasSuffix(name, tempSuffix) {
		return Key{}, false
	}
	k := Key{Network: network, ContainerID: id, IfName: ifname}
	if a, err := readRecord(filepath.Join(dir, name)); err == nil && a.fileName() == name {
		k.ContainerID = a.ContainerID
	}
	return k, true
}

// readNames lists a directory, hidden files left out; none if it is not there.
func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	defer f.Close()
	all, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read state %s: %w", dir, err)
	}
	names := all[:0]
	for _, n := range all {
		if !strings.HasPrefix(n, ".") {
			names = append(names, n)
		}
	}
	return names, nil
}

// ErrClaimed says that another attachment of the network has an address.
var ErrClaimed = errors.New("the address belongs to another attachment of this node")

// Claim notes that k has the address a. A claim whose attachment is no longer
// recorded, or is of an earlier boot, is taken over.
// With owned the caller knows that a is k's, because it holds a reservation
// that nobody else can have; a claim left by another is then a killed call's.
func (d *Dir) Claim(k Key, a netip.Addr, owned bool) error {
	path := d.claimPath(k.Network, a)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("claim address: %w", err)
	}
	for range 8 {
		err := os.Symlink(k.fileName(), path)
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("claim address: %w", err)
		}
		holder, err := os.Readlink(path)
		if err != nil {
			continue // given up just now
		}
		if holder == k.fileName() {
			return nil
		}
		if !owned && d.alive(k.Network, holder) {
			return fmt.Errorf("%w: %s is %s's", ErrClaimed, a, holder)
		}
		os.Remove(path)
	}
	return fmt.Errorf("%w: %s", ErrClaimed, a)
}

// alive reports whether holder is recorded and of this boot.
func (d *Dir) alive(network, holder string) bool {
	a, err := readRecord(filepath.Join(d.Run, "attachments", network, holder))
	if err != nil {
		return !errors.Is(err, ErrNotFound)
	}
	return a.BootID == d.BootID
}

// Claimed reports whether k is the attachment that has the address a.
func (d *Dir) Claimed(k Key, a netip.Addr) bool {
	holder, err := os.Readlink(d.claimPath(k.Network, a))
	return err == nil && holder == k.fileName()
}

// Unclaim ends k's claim of a, and no other's.
func (d *Dir) Unclaim(k Key, a netip.Addr) {
	if d.Claimed(k, a) {
		os.Remove(d.claimPath(k.Network, a))
	}
}

// Claims returns the addresses claimed in network, with the file name of the
// claiming attachment's record.
func (d *Dir) Claims(network string) (map[netip.Addr]string, error) {
	dir := filepath.Join(d.Run, "addresses", network)
	names, err := readNames(dir)
	if err != nil {
		return nil, err
	}
	claims := map[netip.Addr]string{}
	for _, n := range names {
		a, err := netip.ParseAddr(n)
		if err != nil {
			continue
		}
		if holder, err := os.Readlink(filepath.Join(dir, n)); err == nil {
			claims[a] = holder
		}
	}
	return claims, nil
}

func (d *Dir) claimPath(network string, a netip.Addr) string {
	return filepath.Join(d.Run, "addresses", network, a.String())
}

// Use notes that k uses the host link name, which attachments share.
func (d *Dir) Use(k Key, name string) error {
	dir := d.usersDir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("note use of %s: %w", name, err)
	}
	path := filepath.Join(dir, k.userName())
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return fmt.Errorf("note use of %s: %w", name, err)
	}
	return nil
}

// Unuse ends k's use of the link and returns how many others use it.
func (d *Dir) Unuse(k Key, name string) (int, error) {
	path := filepath.Join(d.usersDir(name), k.userName())
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("end use of %s: %w", name, err)
	}
	users, err := readNames(d.usersDir(name))
	if err == nil && len(users) == 0 {
		os.Remove(d.usersDir(name))
	}
	return len(users), err
}

func (d *Dir) usersDir(name string) string { return filepath.Join(d.Run, "links", name) }

// UnclaimOrphan ends holder's claim of a if holder is not recorded. Since the
// caller learned of the claim it can have become another's.
func (d *Dir) UnclaimOrphan(network string, a netip.Addr, holder string) bool {
	if _, err := os.Lstat(filepath.Join(d.Run, "attachments", network, holder)); !errors.Is(err, os.ErrNotExist) {
		return false
	}
	if now, err := os.Readlink(d.claimPath(network, a)); err != nil || now != holder {
		return false
	}
	return os.Remove(d.claimPath(network, a)) == nil
}

// AllClaims returns the claimed addresses of all networks.
func (d *Dir) AllClaims() (map[netip.Addr]bool, error) {
	networks, err := readNames(filepath.Join(d.Run, "addresses"))
	if err != nil {
		return nil, err
	}
	all := map[netip.Addr]bool{}
	for _, n := range networks {
		claims, err := d.Claims(n)
		if err != nil {
			return nil, err
		}
		for a := range claims {
			all[a] = true
		}
	}
	return all, nil
}

// Used reports whether any attachment uses the link.
func (d *Dir) Used(name string) bool {
	users, err := readNames(d.usersDir(name))
	return err != nil || len(users) > 0
}

// PruneUsers ends the uses of the link by attachments that are not recorded.
func (d *Dir) PruneUsers(name string) error {
	users, err := readNames(d.usersDir(name))
	if err != nil {
		return err
	}
	if len(users) == 0 {
		return nil
	}
	known := map[string]bool{}
	networks, err := d.Networks()
	if err != nil {
		return err
	}
	for _, n := range networks {
		keys, err := d.List(n)
		if err != nil {
			return err
		}
		for _, k := range keys {
			known[k.userName()] = true
		}
	}
	for _, u := range users {
		if !known[u] {
			os.Remove(filepath.Join(d.usersDir(name), u))
		}
	}
	return nil
}
