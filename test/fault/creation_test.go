package fault

import (
	"errors"
	"syscall"
	"testing"

	agent "github.com/truesize/truesize/pkg/viewd"
	"golang.org/x/sys/unix"
)

// The agent knows without asking that the server is at work, and at once that
// nothing is left of the view. Only who asks hears of a container that there is
// not.
func TestNewContainers(t *testing.T) {
	n := newNode(t, 2)
	n.start()
	c := agent.NewClient(n.dir)
	files := []string{"/proc/meminfo", "/proc/stat"}
	check := func(id string) error {
		err := c.Check(t.Context(), id, files)
		if err != nil && !errors.Is(err, agent.ErrSilent) {
			t.Errorf("%v: want a silent view", err)
		}
		return err
	}
	if check("unknown") == nil {
		t.Error("a server that nobody knows yet was not asked")
	}
	if err := check(n.containers[0].id); err != nil {
		t.Fatal(err)
	}
	n.await("a beat that says that the server is at work", func() bool { return check("unknown") == nil })

	// Another server, which is asked before it is known.
	server := n.server()
	n.kill(server, syscall.SIGKILL)
	n.await("another server", func() bool { pid := n.status().ServerPID; return pid != 0 && pid != server && n.status().Serving })
	n.answers()
	if check("unknown") == nil {
		t.Error("the server that has come was not asked")
	}
	if err := check(n.containers[1].id); err != nil {
		t.Fatal(err)
	}
	n.await("a beat of the other server", func() bool { return check("unknown") == nil })

	n.await("a spare", func() bool { return n.status().SparePID != 0 })
	st := n.status()
	n.kill(st.KeeperPID, syscall.SIGSTOP)
	for _, pid := range []int{st.SparePID, st.ServerPID, st.KeeperPID} {
		n.end(pid)
	}
	if check(n.containers[0].id) == nil {
		t.Error("nothing is left of the view, and it was not asked")
	}
}

// end kills a process and waits until all of it is gone.
func (n *node) end(pid int) {
	n.t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	defer unix.Close(fd)
	n.kill(pid, syscall.SIGKILL)
	if ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(generous.Milliseconds())); ready == 0 {
		n.t.Fatalf("process %d does not end: %v", pid, err)
	}
}
