package nettest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Serve answers TCP connections to the address with the peer's address as it
// sees it, one line, until the test ends.
func (h *Host) Serve(t testing.TB, addr string) {
	t.Helper()
	var l net.Listener
	h.Do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintln(c, host)
			c.Close()
		}
	}()
}

// Seen connects from the host to the address and returns the peer's address
// as the server at the other end sees it.
func (h *Host) Seen(addr string) (netip.Addr, error) {
	return h.SeenWithin(addr, 5*time.Second)
}

// SeenWithin is Seen with a deadline of its own.
func (h *Host) SeenWithin(addr string, d time.Duration) (netip.Addr, error) {
	var c net.Conn
	err := h.NS.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", addr, d)
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(d)); err != nil {
		return netip.Addr{}, err
	}
	b, err := io.ReadAll(c)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(b) == 0 {
		return netip.Addr{}, errors.New("the server said nothing")
	}
	a, err := netip.ParseAddr(string(b[:len(b)-1]))
	return a.Unmap(), err
}

// WantSeen fails the test unless the host reaches addr and is seen as from.
func (h *Host) WantSeen(t testing.TB, addr, from string) {
	t.Helper()
	got, err := h.Seen(addr)
	if err != nil {
		t.Errorf("connect to %s: %v", addr, err)
		return
	}
	if got != netip.MustParseAddr(from) {
		t.Errorf("connect to %s: seen as %s, want %s", addr, got, from)
	}
}
