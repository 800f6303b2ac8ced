package keeper

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newSleeper returns a server that does nothing, and its end of the link.
func newSleeper(t *testing.T) (c *child, theirs *os.File) {
	t.Helper()
	ours, fd, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	theirs = os.NewFile(uintptr(fd), "server")
	pidfd := -1
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &unix.SysProcAttr{PidFD: &pidfd}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c = newChild(cmd.Process.Pid, pidfd, os.NewFile(uintptr(ours), "link"), "sleep")
	go c.reap(cmd)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		theirs.Close()
		c.close()
	})
	return c, theirs
}

// A server has ended when its link has, which is before its process has gone,
// or when its process has, though another may have its end of the link.
func TestEndOfServer(t *testing.T) {
	for name, end := range map[string]func(c *child, link *os.File){
		"link":             func(_ *child, link *os.File) { link.Close() },
		"link, not read":   func(c *child, link *os.File) { _ = c.goServe(); link.Close() },
		"process":          func(c *child, _ *os.File) { c.kill() },
		"link and process": func(c *child, link *os.File) { link.Close(); c.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			c, link := newSleeper(t)
			if c.isDead(10 * time.Millisecond) {
				t.Fatal("it has ended before")
			}
			if err := sendLine(link, "ready v1"); err != nil {
				t.Fatal(err)
			}
			if line := <-c.ready; line != "v1" {
				t.Errorf("ready %q", line)
			}
			end(c, link)
			if !c.isDead(30 * time.Second) {
				t.Error("nothing tells of its end")
			}
		})
	}
}

// The link's descriptor is behind those that a server opens later.
func TestBehindAll(t *testing.T) {
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ours)
	high := behindAll(theirs)
	defer unix.Close(high)
	if flags, err := unix.FcntlInt(uintptr(high), unix.F_GETFD, 0); high < linkFrom || err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor %d, flags %#x, %v", high, flags, err)
	}
	if _, err := unix.FcntlInt(uintptr(theirs), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the low one: %v; want it closed, so that the link ends with the high one", err)
	}
}
