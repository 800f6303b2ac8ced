package registry

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait bounds the wait for a lock. It is held for a reading and a writing,
// so that who holds it for longer stands still.
const lockWait = 200 * time.Millisecond

// Lock keeps others, of this process or another, from changing the entry of
// container id between a [Dir.Get] and the [Dir.Update] that follows it, until
// unlock is called. It is advisory, and a help: where the container is not
// registered, or the lock cannot be had in 0.2 s, there is none, because no
// container may wait for a process that stands still.
func (d *Dir) Lock(id string) (unlock func()) { return d.lock(id, lockWait) }

func (d *Dir) lock(id string, wait time.Duration) (unlock func()) {
	dir, err := d.ContainerDir(id)
	if err != nil {
		return func() {}
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return func() {}
	}
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); time.Sleep(time.Millisecond / 2) {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK && err != unix.EINTR {
			break
		}
	}
	return func() { f.Close() } // and the lock goes with it
}
