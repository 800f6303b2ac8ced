package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

func statusCommand(runDir *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the node's containers with their sizes",
		Long: `List the node's containers with their sizes.

CPUS and MEMORY are those of the container / of the node. SOURCE is the rule
that gave them. MOUNTS counts the files of /proc and /sys that are the
container's own. A container without any is left alone: "truesize explain"
says why.`,
		Args: cobra.NoArgs,
	}
	wantJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		asJSON, err := wantJSON()
		if err != nil {
			return err
		}
		list, warning, err := containers(*runDir)
		if err != nil {
			return err
		}
		if warning != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "truesize: warning: %v\n", warning)
		}
		slices.SortFunc(list, byName)
		if asJSON {
			if list == nil {
				list = []*registry.Container{} // an empty list, not null
			}
			return writeJSON(cmd.OutOrStdout(), list)
		}
		return writeStatus(cmd.OutOrStdout(), list)
	}
	return cmd
}

func byName(a, b *registry.Container) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod),
		cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
}

// shortID is how many digits of an id are shown.
const shortID = 13

func writeStatus(w io.Writer, list []*registry.Container) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAMESPACE\tPOD\tCONTAINER\tID\tCPUS\tMEMORY\tSOURCE\tMOUNTS\tSHIM")
	for _, c := range list {
		fmt.Fprintln(t, strings.Join(row(c), "\t"))
	}
	return t.Flush()
}

// row returns the cells of one container.
func row(c *registry.Container) []string {
	name := []string{printable(c.Namespace), printable(c.Pod), printable(c.Name), c.ID[:min(shortID, len(c.ID))]}
	if c.Skipped != "" {
		return append(name, "-", "-", "left alone: "+printable(c.Skipped), "-", "-")
	}
	s, h := c.Decision.Size, c.Input.Host
	shim := "no"
	if c.Shim != "" {
		shim = "yes"
	}
	return append(name,
		fmt.Sprintf("%d / %d", s.CPUs, h.CPUs),
		size.FormatBytes(s.Memory)+" / "+size.FormatBytes(h.Memory),
		sources(c.Decision), strconv.Itoa(len(c.Mounts)), shim)
}

// sources names the rules of CPUs and memory, once where they are the same.
func sources(d size.Decision) string {
	if d.CPUSource == d.MemorySource {
		return printable(string(d.CPUSource))
	}
	return printable(string(d.CPUSource)) + ", " + printable(string(d.MemorySource))
}

// printable returns a string of a pod's for the terminal: entries are
// writable by the node's programs, and a control character may be an escape
// sequence.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
