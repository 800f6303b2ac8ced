package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/truesize/truesize/fuse/kept"
	"github.com/truesize/truesize/pkg/version"
	"golang.org/x/sys/unix"
)

// Protocol is the version of the control socket's messages. Each message is
// one JSON object in one packet; what a side does not know it ignores.
const Protocol = 1

// Operations of the control socket.
const (
	OpStatus   = "status"   // tell who runs
	OpUpgrade  = "upgrade"  // replace the server by Binary, and use it from then on
	OpTakeover = "takeover" // hand the descriptors over, and end
)

// A Request is what is asked of a keeper.
type Request struct {
	Protocol int    `json:"protocol"`
	Op       string `json:"op"`
	// Binary is the path of a truesize-viewd, for an upgrade. A downgrade is
	// the same.
	Binary string `json:"binary,omitempty"`
}

// A Reply is a keeper's answer.
type Reply struct {
	Protocol int    `json:"protocol"`
	Error    string `json:"error,omitempty"`
	// Version is the keeper's, Layout that of its kept memory.
	Version   string `json:"version"`
	Layout    int    `json:"layout"`
	KeeperPID int    `json:"keeperPID"`
	// ServerPID is 0 while no server runs; Serving says that it has been told
	// to serve; Binary is what one is started from.
	ServerPID int  `json:"serverPID"`
	Serving   bool `json:"serving"`
	// SparePID is that of the server that waits to take over, 0 without.
	SparePID int    `json:"sparePID"`
	Binary   string `json:"binary"`
	// Degraded says that the keeper answers itself.
	Degraded bool `json:"degraded"`
	// Counters are what happened since the view was mounted.
	Counters map[string]uint64 `json:"counters"`
}

// A request is one of a connection, until it is answered.
type request struct {
	Request
	conn *net.UnixConn
}

// listen opens the control socket, for root only.
func (k *Keeper) listen() (*net.UnixListener, error) {
	temp := k.opts.Socket + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: temp, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	// The name appears with its mode, in the place of a predecessor's.
	if err := errors.Join(os.Chmod(temp, 0o600), os.Rename(temp, k.opts.Socket)); err != nil {
		l.Close()
		return nil, err
	}
	go k.accept(l)
	return l, nil
}

func (k *Keeper) accept(l *net.UnixListener) {
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: they come back
			time.Sleep(tick)
			continue
		}
		go k.receive(conn)
	}
}

// receive reads one request and gives it to the keeper's goroutine.
func (k *Keeper) receive(conn *net.UnixConn) {
	_ = conn.SetDeadline(time.Now().Add(readyLast + 5*time.Second))
	r := &request{conn: conn}
	buf := make([]byte, 8192)
	n, err := conn.Read(buf)
	if err == nil {
		err = fromRoot(conn)
	}
	if err == nil {
		err = json.Unmarshal(buf[:n], &r.Request)
	}
	if err != nil {
		k.reply(r, err)
		return
	}
	k.requests <- r
}

// fromRoot checks who asks: the socket's mode does, too, but not on every
// file system.
func fromRoot(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(cerr, err); err == nil && cred.Uid != 0 {
		err = fmt.Errorf("user %d may not ask this", cred.Uid)
	}
	return err
}

// obey does what was asked, in the keeper's goroutine.
func (k *Keeper) obey(r *request) {
	switch {
	case r.Op == OpStatus:
		k.reply(r, nil)
	case r.Protocol != Protocol:
		k.reply(r, fmt.Errorf("protocol %d: this keeper speaks %d", r.Protocol, Protocol))
	case r.Op == OpUpgrade:
		k.upgrade(r)
	case r.Op == OpTakeover:
		k.handOver(r)
	default:
		k.reply(r, fmt.Errorf("operation %.32q is not known", r.Op))
	}
}

func (k *Keeper) reply(r *request, err error, fds ...int) bool {
	defer r.conn.Close()
	a := k.status()
	if err != nil {
		a.Error = err.Error()
	}
	data, err := json.Marshal(a)
	if err != nil {
		return false
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err = r.conn.WriteMsgUnix(data, rights, nil)
	return err == nil
}

func (k *Keeper) status() Reply {
	a := Reply{
		Protocol: Protocol, Version: version.Get().Version, Layout: kept.Layout, KeeperPID: os.Getpid(),
		Binary: k.opts.Server[0], Degraded: k.standIn != nil, Counters: k.Memory.Counters(),
	}
	if k.spare.child != nil {
		a.SparePID = k.spare.pid
	}
	if k.server != nil {
		a.ServerPID, a.Serving = k.server.pid, !k.server.serve.IsZero()
	}
	return a
}
