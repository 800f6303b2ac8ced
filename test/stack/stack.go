// Package stack starts and stops a private container stack on this node: a
// containerd with its own root, state, sockets, cgroup parent and pod
// network, and Truesize's agent on it. Whatever else runs on the node, a
// containerd or a docker too, is not touched.
//
// All that a stack makes carries its id: a directory, processes that name the
// directory in their arguments, mounts below it, a cgroup, a bridge. So what
// is left of a stack whose owner was killed can be found and removed without
// a record of every step: see [Recover].
//
// It uses the standard library and golang.org/x/sys only.
package stack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// baseDir holds the stacks' directories. Its name is short: a Unix socket's
// path has at most 107 bytes. It is not /tmp, which may be memory.
const baseDir = "/var/tmp"

// Options say what to start.
type Options struct {
	// Repo is the repository's root; programs are taken from its bin/ and
	// bin/tools/, and images are cached in its run/images.
	Repo string
	// Images are archives to load in place of those of run/images.
	Images []string
	// AppArmor has containerd confine containers by its default profile, where
	// the kernel has AppArmor and the node apparmor_parser.
	AppArmor bool
	// Standard has containerd's sockets where nodes have them, in /run. It is
	// for a host of the stack's own (test/systemd).
	Standard bool
	// Progress is called with a line for each step. Nil is silence.
	Progress func(string)
}

// A Stack is a running containerd with what belongs to it.
type Stack struct {
	ID  string
	Dir string // everything of the stack is below it

	opts       Options
	owner      *os.File // the locked state file
	containerd *process
	agent      *process
	snapshots  string       // name of the snapshotter
	metrics    string       // the agent's metrics address
	pods       atomic.Int64 // how many were made
}

// Start cleans up after dead owners and starts a stack: containerd with the
// images loaded. The agent is started by [Stack.StartAgent]. On an error
// everything is taken down again.
func Start(ctx context.Context, opts Options) (*Stack, error) {
	if opts.Progress == nil {
		opts.Progress = func(string) {}
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("start stack: containerd and cgroups need root")
	}
	if err := Recover(opts.Progress); err != nil {
		return nil, fmt.Errorf("clean up after an earlier stack: %w", err)
	}
	s, err := create(opts)
	if err != nil {
		return nil, err
	}
	err = s.mountRunDir()
	if err == nil {
		err = s.startContainerd(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// create makes the stack's directory and state file.
func create(opts Options) (*Stack, error) {
	var id [3]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("make a stack id: %w", err)
	}
	s := &Stack{ID: hex.EncodeToString(id[:]), opts: opts}
	s.Dir = dirOf(s.ID)
	// Under its name it has a locked state file from the first moment: a
	// directory without one is an owner's who was killed.
	tmp := filepath.Join(baseDir, "."+filepath.Base(s.Dir))
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return nil, fmt.Errorf("create stack: %w", err)
	}
	owner, err := writeState(tmp, state{Repo: opts.Repo})
	if err == nil {
		err = os.Rename(tmp, s.Dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create stack: %w", err), os.RemoveAll(tmp))
	}
	s.owner = owner
	return s, nil
}

// Stop takes the stack down in the order in which a node is shut down, then
// removes whatever is left. It may be called more than once, and is not
// bound to the context of the start: an interrupted stack is stopped too.
func (s *Stack) Stop() error {
	if s.owner == nil {
		return nil
	}
	s.opts.Progress("taking the stack down")
	s.shutdown()
	err := sweep(s.ID, s.opts.Repo)
	if err == nil {
		s.owner.Close()
		s.owner = nil
	}
	return err
}

// shutdown ends the stack's parts in the order of a node that is shut down.
// What does not end is left to [sweep].
func (s *Stack) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.removePods(ctx)
	terminate(s.Dir, s.opts.Repo, "truesized")
	_ = removeUnit(s.Dir) // again, and checked, by sweep
	terminate(s.Dir, s.opts.Repo, "truesize-viewd")
	terminate(s.Dir, s.opts.Repo, "containerd")
}

// Detach leaves the stack running when this process ends. [Down] stops it.
func (s *Stack) Detach() error {
	f, err := writeState(s.Dir, state{Repo: s.opts.Repo, Detached: true})
	if err != nil {
		return err
	}
	s.owner.Close()
	s.owner = nil
	return f.Close()
}

// path returns the name of a file in the stack's directory.
func (s *Stack) path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}

// CrictlConfig returns the path of crictl's configuration.
func (s *Stack) CrictlConfig() string { return s.path("crictl.yaml") }

// LogDir returns the directory of the daemons' logs.
func (s *Stack) LogDir() string { return s.path("log") }

// Program returns the path of a program of the private stack, as crictl.
func (s *Stack) Program(name string) string {
	return filepath.Join(s.opts.Repo, "bin", "tools", name)
}

// dirOf, cgroupOf, bridgeOf and networkOf name what belongs to stack id.
func dirOf(id string) string     { return filepath.Join(baseDir, dirPrefix+id) }
func cgroupOf(id string) string  { return "/" + dirPrefix + id }
func bridgeOf(id string) string  { return "ts-" + id }
func networkOf(id string) string { return dirPrefix + id }

// dirPrefix begins the names of stacks' directories and cgroups.
const dirPrefix = "truesize-dev-"
