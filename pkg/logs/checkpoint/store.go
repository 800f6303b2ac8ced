package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A Store is a checkpoint at a path. The one before it is beside it, with
// ".previous" behind its name.
type Store struct {
	path string
	buf  []byte
	sync func(*os.File) error // (*os.File).Sync; tests look on
}

// Open returns the store at path and creates its directory (mode 0700: a
// checkpoint names pods and their labels).
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create the checkpoint's directory: %w", err)
	}
	return &Store{path: path, sync: (*os.File).Sync}, nil
}

// Path returns the checkpoint's path.
func (s *Store) Path() string { return s.path }

// Load reads the checkpoint. A damaged one is set aside under a name that says
// so; then what it still says is completed from the one before it, and the
// error wraps [ErrDamaged] beside a state that can be used. Without any
// checkpoint the state is empty and the error nil: nothing was ever read.
func (s *Store) Load(now time.Time) (*State, error) {
	state, err := read(s.path)
	if err == nil {
		return state, nil
	}
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	prev, prevErr := read(s.path + ".previous")
	if errors.Is(err, fs.ErrNotExist) {
		if errors.Is(prevErr, fs.ErrNotExist) {
			return new(State), nil
		}
		if prevErr != nil {
			return prev, prevErr
		}
		return prev, fmt.Errorf("%w: %s is missing, the one before it is used", ErrDamaged, s.path)
	}
	aside := fmt.Sprintf("%s.damaged-%s", s.path, now.UTC().Format("20060102T150405.000000000"))
	if rerr := os.Rename(s.path, aside); rerr != nil {
		return nil, fmt.Errorf("set the damaged checkpoint aside: %w", rerr)
	}
	complete(state, prev)
	return state, fmt.Errorf("%w (kept as %s)", err, aside)
}

// complete adds to s what only prev knows.
func complete(s, prev *State) {
	if prev == nil {
		return
	}
	files := map[string]bool{}
	for _, f := range s.Files {
		files[f.Dir+"\x00"+f.ID] = true
	}
	for _, f := range prev.Files {
		if !files[f.Dir+"\x00"+f.ID] {
			s.Files = append(s.Files, f)
		}
	}
	dirs := map[string]bool{}
	for _, c := range s.Containers {
		dirs[c.Dir] = true
	}
	for _, c := range prev.Containers {
		if !dirs[c.Dir] {
			s.Containers = append(s.Containers, c)
		}
	}
}

func read(path string) (*State, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EISDIR) {
		// The disk has lost it, or something else is in its place.
		return new(State), fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	state, err := Decode(data)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return state, err
}

// Save writes s durably. When it fails the checkpoint on disk is the last one
// that was saved.
func (s *Store) Save(state *State) (err error) {
	if s.buf, err = Encode(s.buf[:0], state); err != nil {
		return err
	}
	dir := filepath.Dir(s.path)
	tmp := s.path + ".new"
	defer func() {
		if err != nil {
			os.Remove(tmp) // a full disk gets its space back
			err = fmt.Errorf("write checkpoint: %w", err)
		}
	}()
	if err := s.writeSynced(tmp); err != nil {
		return err
	}
	if err := keepPrevious(s.path); err != nil {
		return err
	}
	if err := os.Rename(tmp, s.path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(s.sync(d), d.Close())
}

func (s *Store) writeSynced(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(s.buf)
	if err == nil {
		err = s.sync(f)
	}
	return errors.Join(err, f.Close())
}

// keepPrevious gives the present checkpoint its second name, so that at no
// moment there is none.
func keepPrevious(path string) error {
	link := path + ".link"
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.Link(path, link)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the first one
	}
	if err != nil {
		return err
	}
	return os.Rename(link, path+".previous")
}
