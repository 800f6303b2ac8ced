// Package shimdir installs the shim's object on the host, where containers'
// mounts take it from.
//
// An object's path holds its hash: an upgrade installs beside the old one and
// never changes a file that processes have mapped. No version is removed, for
// containers of it may run: one is some 15 KiB. It imports pkg/shim only.
package shimdir

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/shim"
)

var (
	// ErrNoExec says that the file system cannot be executed from: the dynamic
	// loader refuses to map an object on it.
	ErrNoExec = errors.New("the file system is mounted noexec: choose another stateDir, or mount it exec")
	// ErrDamaged says that the installed object is not the one that belongs.
	ErrDamaged = errors.New("the shim's object is damaged: restart the agent to install it again")
)

const name = "libtruesize.so"

// Path returns where object is, or will be, installed below stateDir.
func Path(stateDir string, object []byte) string {
	return filepath.Join(stateDir, "shim", shim.Hash(object), name)
}

// Install makes sure that object is installed below stateDir and returns its
// path. A file that is there and whole is left as it is.
func Install(stateDir string, object []byte) (string, error) {
	path := Path(stateDir, object)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("install shim: %w", err)
	}
	if Verify(stateDir, object) != nil {
		if err := replace(path, object); err != nil {
			return "", fmt.Errorf("install shim: %w", err)
		}
	}
	return path, Verify(stateDir, object)
}

// Verify returns nil when object is installed below stateDir, whole, readable
// by every user and executable. The error wraps [ErrNoExec], [ErrDamaged] or
// fs.ErrNotExist where it is one of those.
func Verify(stateDir string, object []byte) error {
	path := Path(stateDir, object)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("verify shim: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("verify shim: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm() != mode || info.Size() != int64(len(object)) {
		return fmt.Errorf("verify shim: %s: %w", path, ErrDamaged)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("verify shim: %w", err)
	}
	if sha256.Sum256(data) != sha256.Sum256(object) {
		return fmt.Errorf("verify shim: %s: %w", path, ErrDamaged)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("verify shim: statfs %s: %w", path, err)
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("verify shim: %s: %w", path, ErrNoExec)
	}
	return nil
}

// mode is that of a shared object: containers' users read and map it.
const mode = 0o755

// replace writes path durably and at once.
func replace(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
