package main

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A reader is a process that reads one peer's files in one container.
type reader struct {
	peer   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	tasks  *gob.Encoder
	done   *gob.Decoder
	stderr bytes.Buffer
}

func peerName(s *server) string {
	if s == nil {
		return "kernel"
	}
	return s.name
}

// startReader starts a reader of s, nil for the kernel, in cgroup sub.
func (b *bench) startReader(s *server, id, sub string) (*reader, error) {
	root := ""
	if s != nil {
		root = s.root(id)
	}
	return b.startReaderAt(peerName(s), root, files, sub)
}

// startReaderAt starts a reader of files that are below root, empty for the
// kernel's own.
func (b *bench) startReaderAt(peer, root string, files []string, sub string) (*reader, error) {
	r := &reader{peer: peer}
	r.cmd = exec.CommandContext(b.ctx, "/proc/self/exe", "reader", "-root", root, "-files", strings.Join(files, ","))
	r.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	r.cmd.Stderr = &r.stderr
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	r.stdin, r.tasks, r.done = stdin, gob.NewEncoder(stdin), gob.NewDecoder(stdout)
	if err := b.cg.enter(sub, r.cmd.Process.Pid); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// do has a task done.
func (r *reader) do(t task) ([]reading, error) {
	if err := r.begin(t); err != nil {
		return nil, err
	}
	return r.end()
}

func (r *reader) begin(t task) error {
	if err := r.tasks.Encode(t); err != nil {
		return r.failed(err)
	}
	return nil
}

func (r *reader) end() (out []reading, err error) {
	if err := r.done.Decode(&out); err != nil {
		return nil, r.failed(err)
	}
	return out, nil
}

func (r *reader) failed(err error) error {
	return errors.Join(fmt.Errorf("reader of %s: %w", r.peer, err), r.close())
}

// close ends the process. What it said of its failure is in the error.
func (r *reader) close() error {
	r.stdin.Close()
	if err := r.cmd.Wait(); err != nil && r.stderr.Len() > 0 {
		return errors.New(strings.TrimSpace(r.stderr.String()))
	}
	return nil
}

type readers []*reader

// do has all of them do a task of one file at the same time.
func (rs readers) do(t task) (all reading, err error) {
	for _, r := range rs {
		if err := r.begin(t); err != nil {
			return all, err
		}
	}
	for _, r := range rs {
		found, err := r.end()
		if err != nil {
			return all, err
		}
		all.Took = append(all.Took, found[0].Took...)
		all.Reads += found[0].Reads
	}
	return all, nil
}

func (rs readers) close() {
	for _, r := range rs {
		r.close()
	}
}

// serverCPU is the CPU time that a peer's server has used.
func (b *bench) serverCPU(s *server) (time.Duration, error) {
	if s == nil {
		return 0, nil
	}
	sub := "viewd"
	if s.name == "lxcfs" {
		sub = "lxcfs"
	}
	ns, err := b.cg.cpuNanos(sub)
	return time.Duration(ns), err
}
