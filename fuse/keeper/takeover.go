package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/truesize/truesize/fuse/kept"
	"golang.org/x/sys/unix"
)

// handOver gives the descriptors to another keeper. The server does not
// notice: it keeps the other end of the same link.
func (k *Keeper) handOver(r *request) {
	if k.server == nil || k.server.serve.IsZero() || k.next != nil {
		k.reply(r, errors.New("no server is running undisturbed: try again"))
		return
	}
	fds := []int{k.Fuse, k.Memory.FD(), k.Lock, int(k.server.link.Fd()), int(k.server.pidfd.Fd())}
	if k.handover = k.reply(r, nil, fds...); k.handover {
		k.Memory.Count(kept.Takeovers)
		k.opts.Log.Info("another keeper has taken over")
	}
}

// TakeOver returns a keeper of what the one that listens on socket had, which
// ends.
func TakeOver(socket string, o Options) (*Keeper, error) {
	reply, fds, err := ask(socket, Request{Op: OpTakeover})
	if err != nil {
		return nil, fmt.Errorf("take over from the running keeper: %w", err)
	}
	if len(fds) != 5 {
		closeFDs(fds)
		return nil, fmt.Errorf("take over from the running keeper %s: %d descriptors, want 5", reply.Version, len(fds))
	}
	memory, err := kept.Open(fds[1])
	if err != nil {
		return nil, err
	}
	c, err := adopt(fds[4], fds[3])
	if err != nil {
		return nil, err
	}
	return New(Holdings{Fuse: fds[0], Memory: memory, Lock: fds[2]}, c, o), nil
}

// Ask sends a request to the keeper that listens on socket.
func Ask(socket string, r Request) (Reply, error) {
	reply, fds, err := ask(socket, r)
	closeFDs(fds)
	return reply, err
}

func ask(socket string, r Request) (reply Reply, fds []int, err error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return reply, nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(readyLast + 10*time.Second))
	r.Protocol = Protocol
	data, err := json.Marshal(r)
	if err != nil {
		return reply, nil, err
	}
	if _, err := conn.Write(data); err != nil {
		return reply, nil, err
	}
	buf, oob := make([]byte, 64<<10), make([]byte, 1024)
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return reply, nil, err
	}
	if fds, err = rights(oob[:oobn]); err != nil {
		return reply, fds, err
	}
	if err := json.Unmarshal(buf[:n], &reply); err != nil {
		return reply, fds, fmt.Errorf("the keeper's reply: %w", err)
	}
	if reply.Error != "" {
		err = errors.New(reply.Error)
	}
	return reply, fds, err
}

func rights(oob []byte) (fds []int, err error) {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fds, err
		}
		fds = append(fds, got...)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return fds, nil
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
