package keeper

import (
	"fmt"
	"os"

	"github.com/truesize/truesize/fuse/kept"
	"golang.org/x/sys/unix"
)

// Holdings are what must outlive any one process.
type Holdings struct {
	// Fuse is the /dev/fuse descriptor, in blocking mode.
	Fuse int
	// Memory is what a server leaves to its successor.
	Memory *kept.Memory
	// Lock is the locked file that says that the view is served: it stays
	// locked until the last holder is gone.
	Lock int
}

// inherited returns the holdings in the descriptors that a parent left.
func inherited() (Holdings, error) {
	for fd := fdFuse; fd <= fdServer; fd++ {
		unix.CloseOnExec(fd)
	}
	memory, err := kept.Open(fdMemory)
	if err != nil {
		return Holdings{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fdFuse, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return Holdings{}, fmt.Errorf("descriptor %d is not /dev/fuse (%v): this argument is for truesize-viewd's own use", fdFuse, err)
	}
	return Holdings{Fuse: fdFuse, Memory: memory, Lock: fdLock}, nil
}

// files returns duplicates for a child to inherit, from descriptor 3 on. The
// caller closes them.
func (h Holdings) files(more ...int) (list []*os.File, err error) {
	for _, fd := range append([]int{h.Fuse, h.Memory.FD(), h.Lock}, more...) {
		d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 16)
		if err != nil {
			closeAll(list)
			return nil, fmt.Errorf("duplicate a descriptor: %w", err)
		}
		list = append(list, os.NewFile(uintptr(d), "inherited"))
	}
	return list, nil
}

func closeAll(list []*os.File) {
	for _, f := range list {
		f.Close()
	}
}

// socketPair returns the two ends of a link.
func socketPair() (ours, theirs int, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("socketpair: %w", err)
	}
	return p[0], p[1], nil
}

// linkFrom is the lowest number of a server's link: above those of its other
// descriptors.
const linkFrom = 512

// behindAll gives a server's end of the link a high number. The kernel releases
// the descriptors of a process that dies from the highest down, and the end of
// the link tells the keeper of it: so it hears before the others are released,
// some of which take long. Where there is no such number it keeps its own.
func behindAll(fd int) int {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, linkFrom)
	if err != nil {
		return fd
	}
	unix.Close(fd)
	return high
}
