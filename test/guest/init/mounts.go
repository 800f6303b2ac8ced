package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A mount is one of those that a Linux system has.
type mount struct {
	target, kind, options string
	flags                 uintptr
}

const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// early are mounted before there is a disk, and moved to it; late after it.
var (
	early = []mount{
		{target: "/dev", kind: "devtmpfs", options: "mode=0755", flags: unix.MS_NOSUID},
		{target: "/proc", kind: "proc", flags: plain},
		{target: "/sys", kind: "sysfs", flags: plain},
	}
	late = []mount{
		{target: "/dev/pts", kind: "devpts", options: "mode=0620,ptmxmode=0666", flags: unix.MS_NOSUID | unix.MS_NOEXEC},
		{target: "/dev/shm", kind: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV},
		{target: "/run", kind: "tmpfs", options: "mode=0755", flags: unix.MS_NOSUID | unix.MS_NODEV},
		{target: "/sys/fs/cgroup", kind: "cgroup2", options: "nsdelegate", flags: plain},
		{target: "/sys/kernel/security", kind: "securityfs", flags: plain},
	}
)

func mountAll(list []mount) error {
	for _, m := range list {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// loopbackUp turns the loopback device on.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return errors.Join(errors.New("turn the loopback device on"), err)
	}
	return nil
}
