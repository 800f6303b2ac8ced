package cni_test

import (
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// A frame is what a test keeps of an Ethernet frame.
type frame struct {
	src, dst string
	proto    uint16
}

func listenFrames(t *testing.T, h *nettest.Host) func() []frame { return listenFramesOn(t, h, "eth0") }

// listenFramesOn records the frames that a link receives; the function it
// returns gives those so far.
func listenFramesOn(t *testing.T, h *nettest.Host, link string) func() []frame {
	t.Helper()
	var fd int
	index := h.Link(link).Attrs().Index
	h.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50000}); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: index}) // ETH_P_ALL
	})
	var mu sync.Mutex
	var frames []frame
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 128)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, buf, unix.MSG_TRUNC)
			ll, ok := from.(*unix.SockaddrLinklayer)
			if err != nil || n < 14 || !ok || ll.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			mu.Lock()
			frames = append(frames, frame{net.HardwareAddr(buf[6:12]).String(), net.HardwareAddr(buf[:6]).String(), uint16(buf[12])<<8 | uint16(buf[13])})
			mu.Unlock()
		}
	}()
	t.Cleanup(func() { close(stop); <-done; unix.Close(fd) })
	return func() []frame {
		mu.Lock()
		defer mu.Unlock()
		return append([]frame(nil), frames...)
	}
}
