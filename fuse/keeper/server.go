package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/truesize/truesize/fuse/kept"
	"github.com/truesize/truesize/pkg/pulse"
	"github.com/truesize/truesize/pkg/version"
	"golang.org/x/sys/unix"
)

// beatEvery is how often a server says that it is alive.
const beatEvery = tick

// A Link is a server's side of its keeper.
type Link struct {
	Holdings
	adopt  []string // command line of another keeper, [AdoptArg] left out
	keeper *os.File
	stderr io.Writer
	log    *slog.Logger
	// adoptions is how many keepers servers had started when this one began:
	// with one more its own keeper has been replaced.
	adoptions uint64
}

// Inherit returns what the keeper that started this process gave it. adopt is
// the command line of another keeper, but for [AdoptArg].
func Inherit(adopt []string, stderr io.Writer, log *slog.Logger) (*Link, error) {
	h, err := inherited()
	if err != nil {
		return nil, err
	}
	return &Link{
		Holdings: h, adopt: adopt, keeper: os.NewFile(uintptr(behindAll(fdLink)), "link"), stderr: stderr, log: log,
		adoptions: h.Memory.Counted(kept.Adoptions),
	}, nil
}

// Ready tells the keeper that this server can serve, and waits to be told to.
// It returns an error when it is not wanted any more.
func (l *Link) Ready() error {
	buf := make([]byte, 16)
	n, err := 0, sendLine(l.keeper, "ready "+version.Get().Version)
	if err == nil {
		n, err = recvLine(int(l.keeper.Fd()), buf)
	}
	if linkEnded(n, err) {
		return l.orphaned()
	}
	if err != nil {
		return fmt.Errorf("talk to the keeper: %w", err)
	}
	if line := strings.TrimSpace(string(buf[:n])); line != "go" {
		return fmt.Errorf("the keeper does not want this server: %q", line)
	}
	return nil
}

// linkEnded tells from what came of a link that its other side has ended. For a
// server that is the keeper: before this server was ready, before it read that
// it is, or after.
func linkEnded(n int, err error) bool {
	return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || err == nil && n == 0
}

const (
	// silence is how long nothing beats before a waiting server believes that
	// none serves.
	silence = 3 * beatEvery
	// successorLast is how long the keeper that a server started before it died
	// may need to bring up another one.
	successorLast = 1500 * time.Millisecond
)

// orphaned is called when the keeper has died before it told this server to
// serve. Where another serves, that one sees to a keeper. Where none does, all
// that is left of the view is in the servers that wait, and one of them serves;
// unless the last server had started a keeper already, which starts one too.
func (l *Link) orphaned() error {
	before := l.Memory.Heartbeat()
	if l.beats(before, silence) {
		return errors.New("the keeper is gone, and another server serves")
	}
	if l.Memory.Counted(kept.Adoptions) != l.adoptions && l.beats(before, successorLast-silence) {
		return errors.New("the keeper is gone, and another one has started a server")
	}
	if !l.Memory.Claim(os.Getpid()) {
		return errors.New("the keeper is gone, and another server is to serve")
	}
	l.log.Warn("the keeper and its server are gone: this one serves")
	return nil // Run finds that there is no keeper, and starts one
}

// beats waits for a server to show that it is alive, and reports whether one
// has within that time.
func (l *Link) beats(before uint64, within time.Duration) bool {
	for deadline := time.Now().Add(within); l.Memory.Heartbeat() == before; time.Sleep(beatEvery / 4) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// Run beats the heart of the server, which started then, and sees to it that
// there is a keeper, until ctx ends.
func (l *Link) Run(ctx context.Context, started time.Time) {
	go l.keepKeeper(ctx)
	b := beater{lock: l.Lock, started: started, memory: l.Memory}
	for {
		b.beat()
		if pulse.Wait(ctx, beatEvery) != nil {
			return
		}
	}
}

// keepKeeper starts another keeper whenever the last one is gone.
func (l *Link) keepKeeper(ctx context.Context) {
	buf := make([]byte, 16)
	for ctx.Err() == nil {
		if n, err := recvLine(int(l.keeper.Fd()), buf); err == nil && n > 0 {
			continue
		}
		l.keeper.Close()
		for ctx.Err() == nil {
			err := l.startKeeper()
			if err == nil {
				break
			}
			l.log.Error("the keeper is gone and another cannot be started", "error", err)
			time.Sleep(time.Second)
		}
	}
}

// startKeeper starts a keeper that adopts this server.
func (l *Link) startKeeper() error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer unix.Close(theirs)
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		unix.Close(ours)
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(self)
	files, err := l.files(theirs, self)
	if err != nil {
		unix.Close(ours)
		return err
	}
	defer closeAll(files)
	// The binary that runs, whatever is at its path by now.
	cmd := exec.Command("/proc/self/exe", append([]string{AdoptArg}, l.adopt[1:]...)...)
	cmd.Args[0] = l.adopt[0]
	cmd.ExtraFiles, cmd.Stderr = files, l.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		unix.Close(ours)
		return fmt.Errorf("start a keeper: %w", err)
	}
	go cmd.Wait()
	l.Memory.Count(kept.Adoptions)
	l.keeper = os.NewFile(uintptr(behindAll(ours)), "link")
	l.log.Warn("the keeper was gone: started another", "pid", cmd.Process.Pid)
	return nil
}

// Adopt returns a keeper of the server that started this process.
func Adopt(o Options) (*Keeper, error) {
	h, err := inherited()
	if err != nil {
		return nil, err
	}
	c, err := adopt(fdServer, fdLink)
	if err != nil {
		return nil, errors.Join(errors.New("adopt the server"), err)
	}
	return New(h, c, o), nil
}
