package hostlocal

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/internal/file"
	"github.com/truesize/truesize/cni/internal/flock"
)

const (
	lineBreak  = "\r\n" // between container id and interface name, as the reference writes it
	lastPrefix = "last_reserved_ip."
	lockFile   = "lock"
	tempFile   = ".truesize.tmp" // one name: only the lock's holder writes it
	maxFile    = 4096
	fileMode   = 0o600
)

// An Owner is who holds an address.
type Owner struct {
	ID     string // container id
	IfName string // empty in reservations by very old host-local versions
}

// holds reports whether o, read from a file, is the reservation of want.
func (o Owner) holds(want Owner) bool {
	return o.ID == want.ID && (o.IfName == "" || o.IfName == want.IfName)
}

// validID is the CNI specification's rule for container ids: a letter or
// digit, then letters, digits, '_', '.' and '-'.
func validID(id string) bool {
	for i, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '_' || c == '.' || c == '-'):
		default:
			return false
		}
	}
	return id != ""
}

// A Store is one network's directory, with its lock held.
type Store struct {
	dir  string
	lock *os.File
}

// Open makes the directory of network under dataDir if it is not there, takes
// its lock and clears away what a crash left. It waits for the lock at most
// wait and then returns an error wrapping [flock.ErrBusy].
func Open(dataDir, network string, wait time.Duration) (*Store, error) {
	dir := filepath.Join(dataDir, network)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create address store: %w", err)
	}
	return open(dir, wait)
}

// OpenExisting is Open for a network that may never have had an address: it
// returns nil, nil when there is no directory.
func OpenExisting(dataDir, network string, wait time.Duration) (*Store, error) {
	s, err := open(filepath.Join(dataDir, network), wait)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return s, err
}

func open(dir string, wait time.Duration) (*Store, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o750)
	if err != nil {
		return nil, fmt.Errorf("open lock of address store: %w", err)
	}
	if err := flock.Wait(f, wait); err != nil {
		return nil, err
	}
	return &Store{dir: dir, lock: f}, nil
}

// Close gives the lock back.
func (s *Store) Close() error { return s.lock.Close() }

// Dir returns the network's directory.
func (s *Store) Dir() string { return s.dir }

// Reserved reads every reservation. A file that cannot be anyone's (empty, or
// without a container id on its first line: a crash between create and write,
// or at a power failure) is removed and counted: nobody could ever release it,
// and the lock excludes that somebody is writing it now.
func (s *Store) Reserved() (owners map[netip.Addr]Owner, repaired int, err error) {
	names, err := s.names()
	if err != nil {
		return nil, 0, err
	}
	owners = make(map[netip.Addr]Owner, len(names))
	for _, n := range names {
		a, err := netip.ParseAddr(n)
		if err != nil || a.Zone() != "" {
			continue
		}
		data, err := readSmall(filepath.Join(s.dir, n))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, repaired, fmt.Errorf("read reservation: %w", err)
		}
		o, ok := parseOwner(data)
		if !ok {
			if err := os.Remove(filepath.Join(s.dir, n)); err != nil {
				return nil, repaired, fmt.Errorf("remove damaged reservation: %w", err)
			}
			repaired++
			continue
		}
		owners[a.Unmap()] = o
	}
	return owners, repaired, nil
}

// taken lists the addresses that have a reservation, by its name alone.
func (s *Store) taken() (map[netip.Addr]bool, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	taken := make(map[netip.Addr]bool, len(names))
	for _, n := range names {
		if a, err := netip.ParseAddr(n); err == nil && a.Zone() == "" {
			taken[a.Unmap()] = true
		}
	}
	return taken, nil
}

// repairTaken removes damaged reservations, from taken too.
func (s *Store) repairTaken(taken map[netip.Addr]bool) error {
	owners, _, err := s.Reserved()
	if err != nil {
		return err
	}
	for a := range taken {
		if _, ok := owners[a]; !ok {
			delete(taken, a)
		}
	}
	return nil
}

// holder reads one reservation; false if it is damaged or gone.
func (s *Store) holder(a netip.Addr) (Owner, bool) {
	data, err := readSmall(filepath.Join(s.dir, a.String()))
	if err != nil {
		return Owner{}, false
	}
	return parseOwner(data)
}

func (s *Store) names() ([]string, error) {
	d, err := os.Open(s.dir)
	if err != nil {
		return nil, fmt.Errorf("read address store: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read address store %s: %w", s.dir, err)
	}
	return names, nil
}

// readSmall reads at most maxFile bytes.
func readSmall(path string) ([]byte, error) {
	return file.ReadAtMost(path, maxFile, unix.O_NOFOLLOW)
}

// parseOwner reads a reservation file: "id\r\nifname", or "id" alone.
func parseOwner(data []byte) (Owner, bool) {
	id, ifname, _ := strings.Cut(strings.TrimSpace(string(data)), lineBreak)
	o := Owner{ID: strings.TrimSpace(id), IfName: strings.TrimSpace(ifname)}
	return o, validID(o.ID)
}

// reserve writes the reservation of a. A process killed here leaves the whole
// file or none.
//
// There is no fsync: only a crash of the kernel can lose the page cache, no
// container outlives that, and [Store.SweepBoot] drops the reservations of an
// earlier boot.
func (s *Store) reserve(a netip.Addr, o Owner) error {
	return s.write(a.String(), o.ID+lineBreak+o.IfName)
}

func (s *Store) write(name, content string) error {
	tmp := filepath.Join(s.dir, tempFile)
	if err := file.Write(tmp, []byte(content), fileMode, false); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write address store: %w", err)
	}
	if err := unix.Rename(tmp, filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("write address store: %w", err)
	}
	return nil
}

// last returns the address that set number i gave out last, if known.
func (s *Store) last(i int) netip.Addr {
	data, err := readSmall(filepath.Join(s.dir, fmt.Sprintf("%s%d", lastPrefix, i)))
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(strings.TrimSpace(string(data)))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// setLast is best effort: without it allocation starts at the range's start.
func (s *Store) setLast(i int, a netip.Addr) {
	path := filepath.Join(s.dir, fmt.Sprintf("%s%d", lastPrefix, i))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, fileMode)
	if err != nil {
		return
	}
	defer f.Close()
	// Written in place: some file systems flush a file that was truncated to
	// nothing or renamed over when it is closed, which takes milliseconds.
	text := a.String()
	if _, err := f.WriteAt([]byte(text), 0); err == nil {
		_ = f.Truncate(int64(len(text)))
	}
}

// Release frees every address of o and returns them. Addresses of other
// owners are never touched.
func (s *Store) Release(o Owner) ([]netip.Addr, error) {
	return s.ReleaseIf(func(_ netip.Addr, have Owner) bool { return have.holds(o) })
}

// ReleaseIf frees the addresses for which dead says so, and returns them.
func (s *Store) ReleaseIf(dead func(netip.Addr, Owner) bool) ([]netip.Addr, error) {
	owners, _, err := s.Reserved()
	if err != nil {
		return nil, err
	}
	var freed []netip.Addr
	for a, o := range owners {
		if !dead(a, o) {
			continue
		}
		if err := s.remove(a); err != nil {
			return freed, err
		}
		freed = append(freed, a)
	}
	return freed, s.noteReleased(freed, time.Now())
}

// ReleaseAddr frees a if o holds it.
func (s *Store) ReleaseAddr(a netip.Addr, o Owner) error {
	_, err := s.ReleaseIf(func(b netip.Addr, have Owner) bool { return a == b && have.holds(o) })
	return err
}

func (s *Store) remove(a netip.Addr) error {
	// The reference writes IPv6 in the same canonical text as netip does.
	if err := os.Remove(filepath.Join(s.dir, a.String())); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("release address: %w", err)
	}
	return nil
}

// Held returns the addresses of o.
func (s *Store) Held(o Owner) ([]netip.Addr, error) {
	owners, _, err := s.Reserved()
	if err != nil {
		return nil, err
	}
	var held []netip.Addr
	for a, have := range owners {
		if have.holds(o) {
			held = append(held, a)
		}
	}
	return held, nil
}

// SweepBoot frees the reservations written before the machine booted: the
// containers that held them ended then. Their files' times decide, so it is
// to be called once per boot, before the boot's first allocation; boot is the
// time of boot by the present clock.
func (s *Store) SweepBoot(boot time.Time) ([]netip.Addr, error) {
	return s.ReleaseIf(func(a netip.Addr, _ Owner) bool {
		fi, err := os.Lstat(filepath.Join(s.dir, a.String()))
		return err == nil && fi.ModTime().Before(boot)
	})
}
