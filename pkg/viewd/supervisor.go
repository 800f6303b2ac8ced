package viewd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/pkg/version"
	"golang.org/x/sys/unix"
)

// A Supervisor keeps a truesize-viewd running: it starts one when none runs,
// and again when that has ended. It is a unit of the host's systemd, or a
// process in a session of its own, and outlives the supervisor: containers
// read their files from it.
type Supervisor struct {
	RunDir string
	Binary string   // a path, or a name on PATH
	Args   []string // beside --run-dir
	// HostDir is where Binary is copied to when this agent is in a pod: a
	// directory that the host has at the same path.
	HostDir string
	Log     *slog.Logger
	// Started is called after each start, Failed when one fails, or the
	// server has ended.
	Started, Failed func()
}

const (
	firstWait = 100 * time.Millisecond
	lastWait  = 10 * time.Second
	// lookEvery is how often a server that another agent started is looked
	// after, and the log's size.
	lookEvery = time.Second
	// steady is how long a server must have run for its end to be a new
	// trouble, not the old one again.
	steady = 30 * time.Second
)

// Run supervises until ctx ends, and returns ctx's error. It leaves the server
// running.
func (s *Supervisor) Run(ctx context.Context) error {
	wait := firstWait
	if err := s.upgrade(ctx); err != nil {
		s.Failed()
		s.Log.Error("the truesize-viewd that runs stays as it is", "error", err)
	}
	for {
		running, err := s.running()
		if err == nil && !running {
			began := time.Now()
			err = s.serve(ctx)
			if time.Since(began) > steady {
				wait = firstWait
			}
		} else if err == nil {
			s.pause(ctx, lookEvery)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.Failed()
			s.Log.Error("truesize-viewd is not running, starting it again", "wait", wait.String(), "error", err)
			s.pause(ctx, wait)
			wait = min(2*wait, lastWait)
		}
		s.boundLog()
	}
}

// running reports whether some truesize-viewd holds the lock.
func (s *Supervisor) running() (bool, error) {
	held, err := keeper.Held(filepath.Join(s.RunDir, lockName))
	if err != nil {
		return false, fmt.Errorf("look for truesize-viewd: %w", err)
	}
	return held, nil
}

// upgradeWithin is how long another version's takeover may take.
const upgradeWithin = 30 * time.Second

// upgrade replaces a truesize-viewd of another version, newer or older, by
// this agent's. What runs goes on when that does not work: readers notice
// neither.
func (s *Supervisor) upgrade(ctx context.Context) error {
	running, err := s.running()
	if err != nil || !running {
		return err
	}
	socket := filepath.Join(s.RunDir, "keeper.sock")
	old, err := keeper.Ask(socket, keeper.Request{Op: keeper.OpStatus})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil // it is just starting, and then of this agent's version
	}
	if err != nil {
		return fmt.Errorf("ask the running truesize-viewd for its version: %w", err)
	}
	want := version.Get().Version
	if old.Version == want {
		return nil
	}
	l, err := s.launch(ctx, "--takeover")
	if err != nil {
		return err
	}
	return s.takenOver(ctx, socket, old, l)
}

// takenOver waits until another keeper and server are in the place of the old.
func (s *Supervisor) takenOver(ctx context.Context, socket string, old keeper.Reply, l launch) error {
	want := version.Get().Version
	ctx, cancel := context.WithTimeout(ctx, upgradeWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("version %s does not take over from %s: %w: see %s", want, old.Version, ctx.Err(), s.logPath())
		case err := <-l.ended:
			return fmt.Errorf("version %s does not take over from %s: %v: see %s", want, old.Version, err, s.logPath())
		case <-tick.C:
		}
		now, err := keeper.Ask(socket, keeper.Request{Op: keeper.OpStatus})
		ours := now.KeeperPID == l.pid || l.unit != "" && now.KeeperPID != old.KeeperPID
		if err == nil && ours && now.Serving && now.ServerPID != old.ServerPID {
			s.Log.Info("replaced truesize-viewd", "from", old.Version, "to", now.Version)
			s.pruneCopies(old.Binary, now.Binary) // the last one stays, for the way back
			return nil
		}
	}
}

func (s *Supervisor) pruneCopies(used ...string) {
	if !s.inPod() {
		return
	}
	if err := prune(s.HostDir, used...); err != nil {
		s.Log.Warn("old copies of truesize-viewd are left", "error", err)
	}
}

// serve starts a server and returns when it has ended, or ctx has. One that
// is a unit of systemd's is not waited for: it is found running.
func (s *Supervisor) serve(ctx context.Context) error {
	l, err := s.launch(ctx)
	if err != nil {
		return err
	}
	s.Started()
	s.Log.Info("started truesize-viewd", "pid", l.pid, "unit", l.unit, "binary", l.program, "log", s.logPath())
	if l.unit != "" {
		s.pause(ctx, lookEvery)
		return ctx.Err()
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-l.ended:
			if err == nil {
				err = errors.New("exit status 0")
			}
			return fmt.Errorf("truesize-viewd ended: %w: see %s", err, s.logPath())
		case <-tick.C:
			s.boundLog()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A launch is a truesize-viewd that was started: as a unit, or as a child.
type launch struct {
	program string
	unit    string
	pid     int
	ended   <-chan error // of a child
}

// launch starts truesize-viewd: as a unit where the host has systemd, which
// keeps it apart from this agent, whose cgroup may go at any moment; else as
// a child that leaves the pod by itself.
func (s *Supervisor) launch(ctx context.Context, args ...string) (launch, error) {
	program, err := s.program()
	if err != nil {
		return launch{}, fmt.Errorf("start truesize-viewd: %w", err)
	}
	if manager, ok := hostSystemd(initDir); ok {
		name := unitName(s.RunDir)
		text, err := unitFile(s.RunDir, program, s.logPath(), s.Args)
		if err == nil {
			err = manager.start(ctx, name, text)
		}
		if err == nil {
			return launch{program: program, unit: name}, nil
		}
		if ctx.Err() != nil {
			return launch{}, ctx.Err()
		}
		s.Log.Error("truesize-viewd does not start as a unit: started by hand", "unit", name, "error", err)
	}
	return s.start(program, args...)
}

// program returns the path of the program on the host.
func (s *Supervisor) program() (string, error) {
	if s.inPod() {
		return install(s.Binary, s.HostDir)
	}
	program, err := exec.LookPath(s.Binary)
	if err != nil {
		return "", fmt.Errorf("%w: set view.binary to its path", err)
	}
	return filepath.Abs(program)
}

// start starts a server as a child.
func (s *Supervisor) start(program string, args ...string) (launch, error) {
	log, err := os.OpenFile(s.logPath(), os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return launch{}, fmt.Errorf("start truesize-viewd: %w", err)
	}
	defer log.Close()
	if s.inPod() {
		args = append(args, "--host-ns", initDir+"/ns/mnt", "--cgroup", Cgroup)
	}
	cmd := exec.Command(program, slices.Concat([]string{"--run-dir", s.RunDir}, s.Args, args)...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	// A session of its own: a terminal's hang-up or ^C, or a signal to the
	// agent's process group, must not reach the files of running containers.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return launch{}, fmt.Errorf("start truesize-viewd: %w: set view.binary to its path", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return launch{program: program, pid: cmd.Process.Pid, ended: ended}, nil
}

// Cgroup is the cgroup that truesize-viewd gets at the top of the host's
// hierarchies when it is started from a pod by hand.
const Cgroup = "truesize"

// inPod reports whether this agent is in a pod: with hostPID, and a mount
// namespace that is not the host's.
func (s *Supervisor) inPod() bool {
	same, err := sameNS(initDir+"/ns/mnt", "/proc/self/ns/mnt")
	return err == nil && !same
}

func (s *Supervisor) logPath() string { return filepath.Join(s.RunDir, logName) }

// maxLog bounds the log in bytes. The run directory is memory.
const maxLog = 4 << 20

// boundLog keeps the log and one predecessor. The server appends to the file
// it has open, so that is emptied, not renamed; what is written between the
// two steps is lost.
func (s *Supervisor) boundLog() {
	info, err := os.Stat(s.logPath())
	if err != nil || info.Size() <= maxLog {
		return
	}
	data, err := os.ReadFile(s.logPath())
	if err == nil {
		err = os.WriteFile(s.logPath()+".1", data[max(0, len(data)-maxLog):], 0o640)
	}
	if err = errors.Join(err, os.Truncate(s.logPath(), 0)); err != nil {
		s.Log.Warn("cannot bound truesize-viewd's log", "error", err)
	}
}

func (s *Supervisor) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
