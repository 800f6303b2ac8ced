package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A state is what a stack's state file says. The file is locked by the
// stack's owner for as long as it lives: an unlocked file that is not
// detached is that of an owner who was killed.
type state struct {
	Repo     string `json:"repo"`
	Detached bool   `json:"detached,omitempty"`
}

const stateFile = "state.json"

// writeState writes the state file of the stack at dir, locked.
func writeState(dir string, st state) (*os.File, error) {
	data, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("encode stack state: %w", err)
	}
	tmp := filepath.Join(dir, "."+stateFile)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write stack state: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock stack state: %w", err), f.Close())
	}
	if _, err := f.Write(data); err != nil {
		return nil, errors.Join(fmt.Errorf("write stack state: %w", err), f.Close())
	}
	if err := os.Rename(tmp, filepath.Join(dir, stateFile)); err != nil {
		return nil, errors.Join(fmt.Errorf("write stack state: %w", err), f.Close())
	}
	return f, nil
}

// Recover removes what stacks of killed owners have left on this node.
func Recover(progress func(string)) error {
	return each(func(id string, st state) error {
		if st.Detached {
			return nil
		}
		progress("cleaning up after an interrupted stack (" + id + ")")
		return sweep(id, st.Repo)
	})
}

// Down stops the detached stacks of the repository, and recovers as
// [Recover] does. It returns how many it stopped.
func Down(repo string, progress func(string)) (stopped int, err error) {
	err = each(func(id string, st state) error {
		if !st.Detached || st.Repo != repo {
			return nil
		}
		stopped++
		progress("taking the stack down (" + id + ")")
		s := &Stack{ID: id, Dir: dirOf(id), opts: Options{Repo: repo}}
		s.shutdown()
		return sweep(id, repo)
	})
	return stopped, errors.Join(err, Recover(progress))
}

// each calls f with every stack on the node that no living process owns.
// While f runs, this process does.
func each(f func(id string, st state) error) error {
	dirs, err := filepath.Glob(filepath.Join(baseDir, dirPrefix+"*"))
	if err != nil {
		return fmt.Errorf("list stacks: %w", err)
	}
	var errs []error
	for _, dir := range dirs {
		if !ours(dir) {
			continue
		}
		if err := withState(dir, f); err != nil {
			errs = append(errs, fmt.Errorf("stack %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// ours says whether dir was made by [create]: anyone can make names in the
// directory above.
func ours(dir string) bool {
	fi, err := os.Lstat(dir)
	if err != nil || !fi.IsDir() || fi.Mode().Perm() != 0o700 {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// withState calls f with the stack at dir unless another process owns it.
// One without a state file is an owner's who was killed while it removed it.
func withState(dir string, f func(id string, st state) error) error {
	id := strings.TrimPrefix(filepath.Base(dir), dirPrefix)
	file, err := os.Open(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return f(id, state{})
	}
	if err != nil {
		return fmt.Errorf("read stack state: %w", err)
	}
	defer file.Close()
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil
	case err != nil:
		return fmt.Errorf("lock stack state: %w", err)
	}
	var st state
	if err := json.NewDecoder(file).Decode(&st); err != nil {
		return fmt.Errorf("read stack state: %w", err)
	}
	return f(id, st)
}
