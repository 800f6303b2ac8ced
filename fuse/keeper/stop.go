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
		held, err := Held(lock)
		if err != nil || !held {
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

// Held reports whether some process of a view holds the lock at that path. To
// look it takes the lock, shared, for an instant: a server that starts in that
// instant fails, and is to be started again.
func Held(lock string) (bool, error) {
	fd, err := unix.Open(lock, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "open", Path: lock, Err: err}
	}
	defer unix.Close(fd)
	held, err := isHeld(fd)
	if err != nil {
		err = &os.PathError{Op: "lock", Path: lock, Err: err}
	}
	return held, err
}

// isHeld is Held of an open file.
func isHeld(fd int) (bool, error) {
	switch err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err {
	case nil:
		return false, nil
	case unix.EWOULDBLOCK:
		return true, nil
	default:
		return false, err
	}
}
