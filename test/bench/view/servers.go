package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

// A server is one view under test: a process, and where its files are.
type server struct {
	name string
	cmd  *exec.Cmd
	// root gives the directory that holds the proc/ of container id.
	root func(id string) string
	// mounts are taken away after the process has ended.
	mounts []string
}

// start runs cmd in cgroup sub and waits until ready exists.
func (s *server) start(cg *cgroups, sub, ready string) error {
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if _, err := cg.make(sub); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	if err := cg.enter(sub, s.cmd.Process.Pid); err != nil {
		return errors.Join(err, s.stop())
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if b, err := os.ReadFile(ready); err == nil && len(b) > 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s: %s did not appear within 10 s", s.name, ready), s.stop())
		}
	}
}

// stop ends the process and takes its mounts away.
func (s *server) stop() error {
	if s.cmd.Process != nil {
		s.cmd.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() { s.cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			s.cmd.Process.Kill()
			<-done
		}
	}
	for _, m := range s.mounts {
		for unix.Unmount(m, unix.MNT_DETACH) == nil {
		}
	}
	return nil
}

// rss is the process's resident memory in bytes.
func (s *server) rss() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("no VmRSS of %s", s.name)
}

// newLXCFS is Debian's lxcfs, with the load average and CPU counts on.
func newLXCFS(dir string) *server {
	mnt := filepath.Join(dir, "lxcfs")
	return &server{
		name:   "lxcfs",
		cmd:    exec.Command("lxcfs", "-f", "-l", "--enable-cfs", "-p", filepath.Join(dir, "lxcfs.pid"), mnt),
		root:   func(string) string { return mnt },
		mounts: []string{mnt},
	}
}

// newViewd is the view of this repository.
func newViewd(dir, binary string) *server {
	return &server{
		name:   "truesize",
		cmd:    exec.Command(binary, "--run-dir", dir, "--log-level", "warn"),
		root:   func(id string) string { return filepath.Join(dir, "view", id) },
		mounts: []string{filepath.Join(dir, "view"), dir},
	}
}

// register writes the entry of a container with cgroup paths and the limits
// given to it.
func register(reg *registry.Dir, id string, paths map[string]string, cpus int, memory uint64) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	in := size.Input{
		Container: id,
		Limits:    size.Limits{CPUMilli: int64(cpus) * 1000, Memory: memory},
		Host:      size.Host{CPUs: cpus, Memory: memory * 4},
	}
	return reg.Put(&registry.Container{
		ID: id, Name: id, Pod: "bench", Namespace: "bench", CreatedAt: time.Now(),
		BootID: strings.TrimSpace(string(boot)), Cgroup: paths, Input: in, Decision: size.Decide(in),
		PID: os.Getpid(), StartTicks: 1,
	})
}
