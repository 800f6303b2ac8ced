package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/lifecycle"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/shim/answer"
)

// A shimState is what the shim has to go by in a container's first process,
// and what it makes of that.
type shimState struct {
	// Page says of the size page what is wrong with it, empty if nothing is.
	Page string `json:"page,omitempty"`
	// NumCPUs is NUM_CPUS of the first process, nil where it is not set.
	NumCPUs *string `json:"env,omitempty"`
	// NumCPUsUnknown is why NumCPUs could not be read.
	NumCPUsUnknown string         `json:"envUnknown,omitempty"`
	Answer         *answer.Answer `json:"answer,omitempty"`
}

// askShim asks the shim's source about a container; nil without a shim.
func askShim(runDir string, c *registry.Container) *shimState {
	if c.Shim == "" {
		return nil
	}
	s := new(shimState)
	page, err := os.ReadFile(filepath.Join(runDir, "containers", c.ID, filepath.Base(registry.SizePagePath)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.Page = "there is none"
	case err != nil:
		s.Page = err.Error()
	}
	env, set, err := environ(c, inject.NumCPUsVar)
	if err != nil {
		s.NumCPUsUnknown = err.Error()
	} else if set {
		s.NumCPUs = &env
	}
	if answer.Known {
		a := answer.For(page, env)
		s.Answer = &a
		if !a.PageUsed && s.Page == "" {
			s.Page = "not one that this version's shim reads"
		}
	}
	return s
}

// environ returns a variable of the container's first process.
func environ(c *registry.Container, name string) (value string, set bool, err error) {
	const proc = "/proc"
	if c.PID == 0 {
		return "", false, errors.New("the container has not started")
	}
	// The entry may be old, and the pid another's.
	ticks, _, err := lifecycle.Node{Proc: proc}.Process(c.PID)
	if err == nil && ticks != c.StartTicks {
		err = errors.New("the container has ended")
	}
	if err != nil {
		return "", false, err
	}
	data, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(c.PID), "environ"))
	if err != nil {
		return "", false, fmt.Errorf("read variables of the container's first process: %w", err)
	}
	value, set = inject.Getenv(strings.Split(string(data), "\x00"), name)
	return value, set, nil
}

// shim writes what the shim answers.
func (p *page) shim(s *shimState) {
	if s == nil {
		return
	}
	p.line("\nThe shim, in the container's first process:")
	switch {
	case s.Page != "":
		p.line("  size page  not used: %s", printable(s.Page))
	case s.Answer != nil:
		p.line("  size page  used")
	default:
		p.line("  size page  there")
	}
	p.line("  NUM_CPUS   %s", s.numCPUs())
	switch {
	case s.Answer == nil:
		p.line("  CPUs       unknown: this program was built without the shim's source (cgo)")
	case s.Answer.CPUs == 0:
		p.line("  CPUs       the node's: there is nothing else to go by")
	default:
		p.line("  CPUs       %d", s.Answer.CPUs)
	}
}

// numCPUs tells what the variable is and whether it counts.
func (s *shimState) numCPUs() string {
	switch {
	case s.NumCPUsUnknown != "":
		return "unknown, taken as unset: " + printable(s.NumCPUsUnknown)
	case s.NumCPUs == nil:
		return "not set"
	case s.Answer != nil && s.Answer.NumCPUs == 0:
		return fmt.Sprintf("%.64q, no number of CPUs: it counts as unset", *s.NumCPUs)
	}
	return fmt.Sprintf("%.64q", *s.NumCPUs)
}
