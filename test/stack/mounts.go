package stack

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// unmountBelow takes away every mount at or below dir, the newest first.
func unmountBelow(dir string) error {
	below, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for i := len(below) - 1; i >= 0; i-- {
		// Detached: a FUSE mount whose server is dead, or one that a dying
		// process still uses, is let go all the same.
		uerr := unix.Unmount(below[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if uerr != nil && !errors.Is(uerr, unix.EINVAL) && !errors.Is(uerr, unix.ENOENT) {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", below[i], uerr))
		}
	}
	return err
}

// mountsBelow returns the mount points at or below dir in order of mounting.
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var below []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		// Stacks' paths hold nothing that the kernel escapes.
		if p := fields[4]; p == dir || strings.HasPrefix(p, dir+"/") {
			below = append(below, p)
		}
	}
	return below, nil
}
