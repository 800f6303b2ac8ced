// Package registry is the directory in which is written what the node's
// Truesize processes know of its containers: one directory per container,
// with its entry in JSON.
//
// The agent and the CLI write entries; the view's server reads them. There is no
// daemon to be down and no start order: an entry appears whole (temp file, fsync,
// rename) or not at all. It imports pkg/size and pkg/pulse only.
package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotFound says that no entry of that id exists.
	ErrNotFound = errors.New("no such container in the registry")
	// ErrCorrupt says that an entry exists and cannot be used.
	ErrCorrupt = errors.New("registry entry is not usable")
	// ErrBadID says that a string is not a container id.
	ErrBadID = errors.New("not a container id")
)

// entryFile is the entry's name within the container's directory.
const entryFile = "container.json"

// maxEntry bounds an entry in bytes: a larger file is corrupt, not read.
const maxEntry = 1 << 20

// validID is containerd's rule for identifiers, at most 128 bytes. It admits
// no separator and no leading dot, so an id is always one path element.
var validID = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?$`)

// ValidID returns an error wrapping [ErrBadID] unless id may name a container.
func ValidID(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("%w: %.64q: want 1 to 128 letters, digits, '_', '.', '-'", ErrBadID, id)
	}
	return nil
}

// A Dir is a registry: a directory of container directories.
type Dir struct {
	path string
}

// Open returns the registry at path, which it creates with its parents
// (mode 0755: the entries hold nothing secret) when it does not exist.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("create registry: %w", err)
	}
	return &Dir{path: path}, nil
}

// Path returns the registry's directory.
func (d *Dir) Path() string { return d.path }

// ContainerDir returns the directory of container id, which may not exist.
func (d *Dir) ContainerDir(id string) (string, error) {
	if err := ValidID(id); err != nil {
		return "", err
	}
	return filepath.Join(d.path, id), nil
}

// Put writes c durably, replacing its earlier entry. It sets c.Version.
func (d *Dir) Put(c *Container) error {
	dir, err := d.ContainerDir(c.ID)
	if err != nil {
		return err
	}
	data, err := encode(c)
	if err != nil {
		return err
	}
	err = writeFile(dir, entryFile, data)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err = d.publish(c.ID, map[string][]byte{entryFile: data}); errors.Is(err, os.ErrExist) {
		err = writeFile(dir, entryFile, data) // another one was faster
	}
	return err
}

// Update is [Dir.Put] for a container that is registered. One that is removed
// before or meanwhile is not registered again: nobody would ever remove it. The
// error wraps [ErrNotFound] then.
func (d *Dir) Update(c *Container) error {
	dir, err := d.ContainerDir(c.ID)
	if err != nil {
		return err
	}
	data, err := encode(c)
	if err != nil {
		return err
	}
	if _, err = os.Lstat(filepath.Join(dir, entryFile)); err == nil {
		err = writeFile(dir, entryFile, data)
	}
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNotFound, c.ID)
	}
	return err
}

// encode returns the entry's file. It sets c.Version.
func encode(c *Container) ([]byte, error) {
	c.Version = SchemaVersion
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode entry of %s: %w", c.ID, err)
	}
	return append(data, '\n'), nil
}

// Get reads the entry of id. The error wraps [ErrNotFound], [ErrCorrupt] or
// [ErrBadID], or is one of the file system's.
func (d *Dir) Get(id string) (*Container, error) {
	c, _, err := d.GetChanged(id, Stamp{})
	return c, err
}

// GetChanged is [Dir.Get] for those who have read the entry before, and got its
// stamp then, or the zero stamp: c is nil if the entry is still that one.
func (d *Dir) GetChanged(id string, seen Stamp) (c *Container, now Stamp, err error) {
	dir, err := d.ContainerDir(id)
	if err != nil {
		return nil, Stamp{}, err
	}
	path := filepath.Join(dir, entryFile)
	data, now, err := readBounded(path, seen)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, Stamp{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	case err != nil:
		return nil, Stamp{}, err
	case now == seen:
		return nil, now, nil
	}
	c, err = decode(data)
	if err != nil {
		return nil, Stamp{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	}
	if c.ID != id {
		return nil, Stamp{}, fmt.Errorf("%w: %s: it is of container %.64q", ErrCorrupt, path, c.ID)
	}
	return c, now, nil
}

// A Stamp tells one version of an entry from another: an entry is replaced by
// another file, never changed. The zero stamp is that of none.
type Stamp struct {
	inode uint64
	size  int64
	mtime unix.Timespec
}

func stampOf(st *unix.Stat_t) Stamp { return Stamp{st.Ino, st.Size, st.Mtim} }

// Has reports whether id has an entry, which need not be usable. The error
// wraps [ErrBadID], or is one of the file system's.
func (d *Dir) Has(id string) (bool, error) {
	dir, err := d.ContainerDir(id)
	if err != nil {
		return false, err
	}
	path := filepath.Join(dir, entryFile)
	var st unix.Stat_t
	err = unix.Lstat(path, &st)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for entry %s: %w", path, err)
	}
	return true, nil
}

// IDs returns the ids that have a directory, sorted. Names that are no ids
// are left out.
func (d *Dir) IDs() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("read registry: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && ValidID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	sort.Strings(ids)
	return ids, nil
}

// List reads every entry. Entries that cannot be read are joined in the
// error, beside the list of the others.
func (d *Dir) List() ([]*Container, error) {
	ids, err := d.IDs()
	if err != nil {
		return nil, err
	}
	var (
		list []*Container
		errs []error
	)
	for _, id := range ids {
		c, err := d.Get(id)
		switch {
		case err == nil:
			list = append(list, c)
		case !errors.Is(err, ErrNotFound): // removed meanwhile, or not yet written
			errs = append(errs, err)
		}
	}
	return list, errors.Join(errs...)
}

// Remove takes the container's directory away. That of an unknown container
// is no error.
func (d *Dir) Remove(id string) error {
	dir, err := d.ContainerDir(id)
	if err != nil {
		return err
	}
	// The entry goes first: a reader sees a container or none, never half.
	if err := os.Remove(filepath.Join(dir, entryFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove entry: %w", err)
	}
	// What another process writes meanwhile, as the view's server a container's
	// counters, goes too: it cannot come back once the directory is gone.
	for range 100 {
		if err = os.RemoveAll(dir); !errors.Is(err, unix.ENOTEMPTY) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("remove entry: %w", err)
	}
	return nil
}

// decode parses and checks an entry.
func decode(data []byte) (*Container, error) {
	c := new(Container)
	if err := json.Unmarshal(data, c); err != nil {
		return nil, err
	}
	switch {
	case c.Version < 1 || c.Version > SchemaVersion:
		return nil, fmt.Errorf("version %d, this program reads 1 to %d: upgrade it", c.Version, SchemaVersion)
	case c.Skipped == "" && (c.Decision.Size.CPUs < 1 || c.Decision.Size.Memory == 0):
		return nil, fmt.Errorf("size of %d CPUs and %d bytes", c.Decision.Size.CPUs, c.Decision.Size.Memory)
	}
	return c, nil
}

// readBounded reads a regular file of at most maxEntry bytes, unless it is the
// one that was seen. It does without os.File, which would register the file with
// Go's poller.
func readBounded(path string, seen Stamp) ([]byte, Stamp, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, Stamp{}, fmt.Errorf("read entry %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, Stamp{}, fmt.Errorf("read entry %s: %w", path, err)
	}
	now := stampOf(&st)
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, Stamp{}, fmt.Errorf("%w: %s is no regular file", ErrCorrupt, path)
	case st.Size > maxEntry:
		return nil, Stamp{}, fmt.Errorf("%w: %s is over %d bytes", ErrCorrupt, path, maxEntry)
	case now == seen:
		return nil, now, nil
	}
	// An entry is replaced, never changed: its size is what it was.
	data := make([]byte, st.Size)
	n := 0
	for n < len(data) {
		m, err := unix.Pread(fd, data[n:], int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, Stamp{}, fmt.Errorf("read entry %s: %w", path, err)
		}
		if m == 0 {
			break
		}
		n += m
	}
	return data[:n], now, nil
}
