package stack

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// removeBridge takes a bridge away. One that does not exist is no error.
func removeBridge(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("remove bridge %s: socket: %w", name, err)
	}
	defer unix.Close(fd)
	down, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("remove bridge %s: %w", name, err)
	}
	down.SetUint16(0) // no flags: not up
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, down); err != nil {
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		return fmt.Errorf("take bridge %s down: %w", name, err)
	}
	cname, err := unix.BytePtrFromString(name)
	if err != nil {
		return fmt.Errorf("remove bridge %s: %w", name, err)
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCBRDELBR, uintptr(unsafe.Pointer(cname)))
	if errno != 0 && errno != unix.ENXIO {
		return fmt.Errorf("remove bridge %s: %w", name, errno)
	}
	return nil
}
