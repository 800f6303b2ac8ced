package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
	"github.com/truesize/truesize/pkg/views"
)

func explainCommand(runDir *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain CONTAINER",
		Short: "Show which rules gave a container its size, step by step",
		Long: `Show which rules gave a container its size, step by step.

CONTAINER is an id or the beginning of one, or a name: of the container, of its
pod, pod/container, namespace/pod or namespace/pod/container.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeContainer(runDir),
	}
	wantJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asJSON, err := wantJSON()
		if err != nil {
			return err
		}
		list, warning, err := containers(*runDir)
		if err != nil {
			return err
		}
		c, err := find(list, args[0])
		if err != nil {
			// The entry asked for may be the one that cannot be read.
			if warning != nil {
				err = fmt.Errorf("%w\n%w", err, warning)
			}
			return err
		}
		if reg, err := registry.Open(filepath.Join(*runDir, "containers")); err == nil && c.Shim != "" {
			if running, err := views.Started(cmd.Context(), reg, c); err == nil {
				c = running
			}
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), explanation{c, askShim(*runDir, c)})
		}
		return writeExplanation(cmd.OutOrStdout(), explanation{c, askShim(*runDir, c)})
	}
	return cmd
}

// An explanation is a container's entry, and what the shim answers in it.
type explanation struct {
	*registry.Container
	ShimState *shimState `json:"shimState,omitempty"`
}

func writeExplanation(w io.Writer, c explanation) error {
	p := &page{w: w}
	p.line("container  %s", fullName(c.Container))
	p.line("id         %s", c.ID)
	if c.Skipped != "" {
		p.line("\nLeft alone: %s.", printable(inject.Skip(c.Skipped).Explain()))
		return p.err
	}
	s, h := c.Decision.Size, c.Input.Host
	p.line("CPUs       %d of the node's %d, from %s", s.CPUs, h.CPUs, printable(string(c.Decision.CPUSource)))
	p.line("memory     %s of the node's %s, from %s", size.FormatBytes(s.Memory), size.FormatBytes(h.Memory), printable(string(c.Decision.MemorySource)))
	p.line("swap       %s of the node's %s", size.FormatBytes(s.Swap), size.FormatBytes(h.Swap))
	p.line("\nRules, in order; * decided:")
	p.steps(c.Decision.Steps)
	p.list("Warnings", c.Decision.Warnings)
	p.line("\nInjected:")
	p.line("  files      %s", orNone(c.Mounts))
	p.line("  shim       %s", orNone(strings.Fields(c.Shim)))
	p.line("  variables  %s", orNone(c.Env))
	p.line("  CPU set    %s", orNone(strings.Fields(c.CPUSet)))
	p.list("Notes", notes(c.Container))
	p.shim(c.ShimState)
	return p.err
}

// notes returns what was left out of a container, and by whom.
func notes(c *registry.Container) []string {
	if c.Detached {
		return append(slices.Clone(c.Notes), inject.SkipDetached.Explain())
	}
	return c.Notes
}

// A page writes lines until one fails.
type page struct {
	w   io.Writer
	err error
}

func (p *page) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// list writes sentences under a title, nothing when there are none.
func (p *page) list(title string, sentences []string) {
	if len(sentences) == 0 {
		return
	}
	p.line("\n%s:", title)
	for _, s := range sentences {
		p.line("  %s", printable(s))
	}
}

// steps writes the rules that were looked at.
func (p *page) steps(steps []size.Step) {
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	for _, s := range steps {
		mark := " "
		if s.Used {
			mark = "*"
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\n", mark, printable(s.Resource), printable(string(s.Rule)), printable(s.Value), printable(s.Note))
	}
	if err := t.Flush(); p.err == nil {
		p.err = err
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return printable(strings.Join(list, " "))
}
