package viewd

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// server is a truesize-viewd that takes the lock, says its pid and sleeps.
const server = `#!/bin/sh
exec 9>>"$2/viewd.lock"
flock -n 9 || exit 3
echo started "$@" >&2
echo $$ > "$2/pid.tmp" && mv "$2/pid.tmp" "$2/pid"
exec sleep 600
`

// A supervision is a supervisor under test.
type supervision struct {
	*Supervisor
	started, failed atomic.Int64
	log             bytes.Buffer
	stop            func()
}

// supervise runs a supervisor in runDir until stop is called, or the test ends.
func supervise(t *testing.T, runDir, program string) *supervision {
	t.Helper()
	s := new(supervision)
	s.Supervisor = &Supervisor{
		RunDir: runDir, Binary: program, Args: []string{"--freshness", "50ms"},
		Log:     slog.New(slog.NewTextHandler(&s.log, nil)),
		Started: func() { s.started.Add(1) },
		Failed:  func() { s.failed.Add(1) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var stopped bool
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("Run returned %v", err)
		}
	}
	t.Cleanup(s.stop)
	return s
}

// script writes a program.
func script(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "viewd")
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// serverPID waits for the server that is not old, and ends it with the test.
func serverPID(t *testing.T, runDir string, old int) (pid int) {
	t.Helper()
	eventually(t, "a server", func() bool {
		data, err := os.ReadFile(filepath.Join(runDir, "pid"))
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(data)))
		return err == nil && pid != old
	})
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) }) // it may have ended
	return pid
}

func TestSupervisor(t *testing.T) {
	runDir := t.TempDir()
	s := supervise(t, runDir, script(t, server))
	first := serverPID(t, runDir, 0)
	if sid, err := unix.Getsid(first); err != nil || sid != first {
		t.Errorf("session %d, %v: want its own", sid, err)
	}
	if log, err := os.ReadFile(filepath.Join(runDir, "viewd.log")); err != nil || !strings.Contains(string(log), "started --run-dir "+runDir+" --freshness 50ms") {
		t.Errorf("log %q, %v", log, err)
	}

	// It is started again when it ends.
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := serverPID(t, runDir, first)
	if s.started.Load() != 2 || s.failed.Load() != 1 {
		t.Errorf("%d starts, %d failures", s.started.Load(), s.failed.Load())
	}

	// It outlives the supervisor, and the next one leaves it alone.
	s.stop()
	if err := unix.Kill(second, 0); err != nil {
		t.Fatalf("the server ended with its supervisor: %v", err)
	}
	next := supervise(t, runDir, script(t, server))
	time.Sleep(100 * time.Millisecond) // in which it could do wrong
	if running, err := next.running(); !running || err != nil || next.started.Load() != 0 {
		t.Errorf("running %v, %v, %d starts", running, err, next.started.Load())
	}
	if err := unix.Kill(second, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	serverPID(t, runDir, second)
}

func TestSupervisorOfABadProgram(t *testing.T) {
	for name, program := range map[string]string{
		"missing": filepath.Join(t.TempDir(), "none"),
		"ends":    script(t, "#!/bin/sh\nexit 0\n"),
		"fails":   script(t, "#!/bin/sh\nexit 7\n"),
	} {
		t.Run(name, func(t *testing.T) {
			s := supervise(t, t.TempDir(), program)
			eventually(t, "two failures", func() bool { return s.failed.Load() >= 2 })
			s.stop()
			want := map[string]string{"missing": "set view.binary", "ends": "exit status 0", "fails": "exit status 7"}[name]
			if !strings.Contains(s.log.String(), want) {
				t.Errorf("log has no %q: %s", want, s.log.String())
			}
		})
	}
}

func TestSupervisorBoundsTheLog(t *testing.T) {
	dir := t.TempDir()
	s := &Supervisor{RunDir: dir, Log: slog.New(slog.DiscardHandler)}
	path := filepath.Join(dir, "viewd.log")
	content := bytes.Repeat([]byte("0123456789abcde\n"), maxLog/16)
	write := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	size := func(name string) int64 {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return -1
		}
		return info.Size()
	}
	s.boundLog() // there is none
	write(content)
	s.boundLog()
	if size("viewd.log") != maxLog || size("viewd.log.1") != -1 {
		t.Errorf("sizes %d and %d", size("viewd.log"), size("viewd.log.1"))
	}
	write(append(content, "last\n"...))
	s.boundLog()
	if size("viewd.log") != 0 || size("viewd.log.1") != maxLog {
		t.Errorf("sizes %d and %d", size("viewd.log"), size("viewd.log.1"))
	}
	if old, err := os.ReadFile(path + ".1"); err != nil || !bytes.HasSuffix(old, []byte("last\n")) {
		t.Errorf("the end got lost: %v", err)
	}
}
