// Package nettest builds networks of network namespaces for tests: a bridge
// as the switch, nodes and machines on it by veth pairs, namespaces of pods.
// The namespace of the machine that runs the tests is never changed.
package nettest

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/netns"
)

// NeedRoot fails the test in CI and skips it elsewhere if it is not root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}

// A Host is a network namespace with a name in the file system: a node, a
// machine of the network, a pod.
type Host struct {
	t    testing.TB
	Path string
	NS   *netns.NS
	Conn *link.Conn
	gone bool // its name is
	shut bool // our descriptors are
}

var count atomic.Int64

// sweep removes, once, the namespaces of test processes that were killed or
// panicked: their directories name the process.
var sweep = sync.OnceFunc(func() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		pid := strings.TrimPrefix(filepath.Base(dir), dirPrefix)
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join("/proc", pid)); err == nil {
			continue
		}
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, n := range names {
			_ = unix.Unmount(n, unix.MNT_DETACH)
			_ = os.Remove(n)
		}
		_ = os.Remove(dir)
	}
})

// dirPrefix begins the names of test processes' directories.
const dirPrefix = "ts-cni-"

// NewHost makes a namespace called name below the test's directory. It is
// removed at the test's end.
func NewHost(t testing.TB, name string) *Host {
	t.Helper()
	sweep()
	dir := filepath.Join(os.TempDir(), dirPrefix+strconv.Itoa(os.Getpid()))
	must(t, os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, fmt.Sprintf("%d-%s", count.Add(1), name))
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, pin(path))
	ns, err := netns.Open(path)
	must(t, err)
	conn, err := link.Dial(ns)
	must(t, err)
	h := &Host{t: t, Path: path, NS: ns, Conn: conn}
	t.Cleanup(func() {
		h.Destroy()
		// A test may have given the host another's path.
		_ = unix.Unmount(path, unix.MNT_DETACH)
		_ = os.Remove(path)
		os.Remove(dir) // when it was the last
	})
	lo, err := conn.ByName("lo")
	must(t, err)
	must(t, conn.Up(lo))
	return h
}

// Remove removes the namespace's name; what holds it open keeps it alive.
func (h *Host) Remove() {
	if h.gone {
		return
	}
	h.gone = true
	_ = unix.Unmount(h.Path, unix.MNT_DETACH)
	_ = os.Remove(h.Path)
}

// Destroy ends the namespace: its name goes, and our descriptors.
func (h *Host) Destroy() {
	if !h.shut {
		h.shut = true
		h.Conn.Close()
		h.NS.Close()
	}
	h.Remove()
}

// pin makes a namespace and mounts it on path.
func pin(path string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("unshare: %w", err)
			return
		}
		own := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		done <- unix.Mount(own, path, "", unix.MS_BIND, "")
	}()
	return <-done
}

// Do calls f on a thread in the host's namespace and fails the test with its
// error.
func (h *Host) Do(f func() error) {
	h.t.Helper()
	if err := h.NS.Do(f); err != nil {
		h.t.Fatal(err)
	}
}

// Run starts cmd in the host's namespace and waits for it.
func (h *Host) Run(cmd *exec.Cmd) error {
	return h.NS.Do(cmd.Run)
}

// Start starts cmd in the host's namespace.
func (h *Host) Start(cmd *exec.Cmd) error {
	return h.NS.Do(cmd.Start)
}

// Addr gives a link of the host an address, without duplicate detection.
func (h *Host) Addr(ifname, prefix string) {
	h.t.Helper()
	p := netip.MustParsePrefix(prefix)
	a, err := netlink.ParseAddr(prefix)
	must(h.t, err)
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	must(h.t, h.Conn.AddrAdd(h.Link(ifname), a))
}

// Link returns a link of the host.
func (h *Host) Link(name string) netlink.Link {
	h.t.Helper()
	l, err := h.Conn.ByName(name)
	must(h.t, err)
	return l
}

// Has reports whether the host has a link of that name.
func (h *Host) Has(name string) bool {
	_, err := h.Conn.ByName(name)
	return err == nil
}

// Sysctl sets net/<key> in the host's namespace.
func (h *Host) Sysctl(key, value string) {
	h.t.Helper()
	must(h.t, h.Conn.Sysctl(key, value))
}

// A LAN is a switch.
type LAN struct {
	t  testing.TB
	sw *Host
	n  int
}

// NewLAN makes a switch without hosts.
func NewLAN(t testing.TB) *LAN {
	t.Helper()
	NeedRoot(t)
	sw := NewHost(t, "switch")
	must(t, sw.Conn.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	must(t, sw.Conn.Up(sw.Link("br0")))
	return &LAN{t: t, sw: sw}
}

// Join plugs the host's new link ifname into the switch, with addresses.
func (l *LAN) Join(h *Host, ifname string, prefixes ...string) {
	l.t.Helper()
	l.n++
	port := fmt.Sprintf("p%d", l.n)
	must(l.t, l.sw.Conn.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: ifname, PeerNamespace: netlink.NsFd(h.NS.Fd())}))
	p := l.sw.Link(port)
	must(l.t, l.sw.Conn.LinkSetMaster(p, l.sw.Link("br0")))
	must(l.t, l.sw.Conn.Up(p))
	must(l.t, h.Conn.Up(h.Link(ifname)))
	for _, a := range prefixes {
		h.Addr(ifname, a)
	}
}

// Port returns the switch's port of the n-th join, from 1.
func (l *LAN) Port(n int) (*Host, netlink.Link) {
	return l.sw, l.sw.Link(fmt.Sprintf("p%d", n))
}

// Host makes a host with one link eth0 on the switch.
func (l *LAN) Host(name string, prefixes ...string) *Host {
	l.t.Helper()
	h := NewHost(l.t, name)
	l.Join(h, "eth0", prefixes...)
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
