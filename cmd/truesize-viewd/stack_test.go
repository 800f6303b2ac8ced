package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

// generous is how long something may take before a test gives up on it.
const generous = 30 * time.Second

// serverEnv makes the test binary the server itself.
const serverEnv = "TRUESIZE_TEST_VIEWD"

func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A stack is a server with its run directory. What the view shows is read by
// other processes only: the test does not serve it, so that may be itself.
type stack struct {
	t   *testing.T
	dir string
	reg *registry.Dir
	cmd *exec.Cmd
	log *bytes.Buffer
}

func newStack(t *testing.T) *stack {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	s := &stack{t: t, dir: t.TempDir()}
	var err error
	if s.reg, err = registry.Open(filepath.Join(s.dir, "containers")); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stack) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{"--run-dir", s.dir}, args...)...)
	cmd.Env = append(os.Environ(), serverEnv+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// start starts the server and waits until the view answers.
func (s *stack) start(args ...string) {
	s.t.Helper()
	s.cmd, s.log = s.command(args...), new(bytes.Buffer)
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.cmd
	s.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			s.stop()
		}
	})
	s.await("the view to answer", func() bool {
		data, err := os.ReadFile(filepath.Join(s.dir, "view/.truesize/version"))
		return err == nil && len(data) > 0
	})
}

// stop ends the server as an admin does.
func (s *stack) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Error(err)
	}
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("after SIGTERM: %v; %s", err, s.log)
	}
	if m := s.mounts(); m != "" {
		s.t.Errorf("left mounted: %s", m)
	}
}

// kill kills keeper and servers at once, which neither can do anything about.
func (s *stack) kill() {
	s.t.Helper()
	st := s.status()
	_ = syscall.Kill(st.KeeperPID, syscall.SIGSTOP)
	if st.SparePID != 0 {
		_ = syscall.Kill(st.SparePID, syscall.SIGKILL)
	}
	_ = syscall.Kill(st.ServerPID, syscall.SIGKILL)
	_ = syscall.Kill(st.KeeperPID, syscall.SIGKILL)
	_ = s.cmd.Wait()
}

func (s *stack) status() keeper.Reply {
	s.t.Helper()
	st, err := keeper.Ask(filepath.Join(s.dir, "keeper.sock"), keeper.Request{Op: keeper.OpStatus})
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *stack) mounts() (found string) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, " "+s.dir) {
			found += line
		}
	}
	return found
}

func (s *stack) await(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(generous); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waiting for %s; server: %s", what, s.log)
		}
	}
}

// register writes the entry of a container of the cgroup.
func (s *stack) register(id string, z size.Size, cgroup map[string]string) {
	s.t.Helper()
	err := s.reg.Put(&registry.Container{
		ID: id, Name: "app", Pod: "pod", Namespace: "ns", BootID: "b", CreatedAt: time.Now(),
		Cgroup: cgroup, Decision: size.Decision{Size: z},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stack) path(id, file string) string { return filepath.Join(s.dir, "view", id, file) }

func (s *stack) read(id, file string) string {
	s.t.Helper()
	data, err := os.ReadFile(s.path(id, file))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

// dial connects to the metrics, which there are a moment after the view answers.
func (s *stack) dial() (conn net.Conn) {
	s.t.Helper()
	s.await("metrics", func() (ok bool) {
		c, err := net.Dial("unix", filepath.Join(s.dir, "viewd.sock"))
		conn = c
		return err == nil
	})
	return conn
}

// metric returns the value of a sample, 0 when there is none.
func (s *stack) metric(sample string) float64 {
	s.t.Helper()
	conn := s.dial()
	defer conn.Close()
	data, err := io.ReadAll(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, sample+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// descriptors is the number of files that the server has open.
func (s *stack) descriptors() int {
	s.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.status().ServerPID))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(entries)
}

// inCgroup runs a shell command line in the cgroup.
func inCgroup(t *testing.T, paths map[string]string, script string) *exec.Cmd {
	t.Helper()
	var join string
	for controller, p := range paths {
		dir := filepath.Join("/sys/fs/cgroup", controller, p)
		if controller == "" {
			if dir = filepath.Join("/sys/fs/cgroup/unified", p); !exists(dir) {
				dir = filepath.Join("/sys/fs/cgroup", p)
			}
		}
		if exists(dir) {
			join += "echo $$ > " + dir + "/cgroup.procs; "
		}
	}
	cmd := exec.Command("sh", "-c", join+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
