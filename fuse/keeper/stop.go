package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Stop ends the view whose keeper listens on socket, as an admin does, and
// waits until the last process that held its lock is gone. Where none runs it
// does nothing.
func Stop(ctx context.Context, socket, lock string) error {
	for asked := 0; ; {
		free, err := isFree(lock)
		if err != nil || free {
			return err
		}
		// A keeper that was killed meanwhile has a successor soon.
		st, err := Ask(socket, Request{Op: OpStatus})
		if err == nil && st.KeeperPID != asked {
			if err := unix.Kill(st.KeeperPID, unix.SIGTERM); err != nil && err != unix.ESRCH {
				return fmt.Errorf("stop truesize-viewd %d: %w", st.KeeperPID, err)
			}
			asked = st.KeeperPID
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("truesize-viewd does not end: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// isFree reports whether nobody holds a lock.
func isFree(path string) (bool, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return true, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	// Shared: it stands in the way of nothing but a start at this instant.
	switch err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err {
	case nil:
		return true, nil
	case unix.EWOULDBLOCK:
		return false, nil
	default:
		return false, &os.PathError{Op: "lock", Path: path, Err: err}
	}
}
