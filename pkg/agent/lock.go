package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// errRunning says that another agent uses the run directory.
var errRunning = errors.New("another truesized uses this run directory: stop it, or give this one another --run-dir")

// lock makes this process the only agent of runDir, until unlock is called or
// the process ends.
func lock(runDir string) (unlock func(), err error) {
	if err := prepare(runDir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(runDir, "agent.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock run directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errRunning
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}
