package fuse

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// FSType is the type of the view's mounts in mountinfo.
const FSType = "fuse.truesize"

// Mount opens a FUSE connection and mounts it on the directory target. The
// descriptor is in blocking mode; the caller closes it. Access is by the
// files' modes, checked by the kernel, for every user.
func Mount(target string) (fd int, err error) {
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open (is the fuse module loaded?)", Path: "/dev/fuse", Err: err}
	}
	data := fmt.Sprintf("fd=%d,rootmode=40555,user_id=0,group_id=0,allow_other,default_permissions,max_read=%d", fd, maxPayload)
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("truesize", target, FSType, flags, data); err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "mount " + FSType, Path: target, Err: err}
	}
	return fd, nil
}
