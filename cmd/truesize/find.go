package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/truesize/truesize/pkg/registry"
)

// find returns the container that what names: an id or the beginning of one,
// or a name: container, pod, pod/container, namespace/pod or
// namespace/pod/container. It is an error when it names none, or several.
func find(list []*registry.Container, what string) (*registry.Container, error) {
	if what == "" { // every id begins with it: a script's variable that is not set
		return nil, errors.New("the container's name is empty: `truesize status` lists them")
	}
	for _, c := range list {
		if c.ID == what {
			return c, nil
		}
	}
	var found []*registry.Container
	for _, c := range list {
		if strings.HasPrefix(c.ID, what) || slices.Contains(names(c), what) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no container %.128q on this node: `truesize status` lists them", what)
	case 1:
		return found[0], nil
	}
	slices.SortFunc(found, byName)
	var b strings.Builder
	fmt.Fprintf(&b, "%.128q names %d containers, give more of one:", what, len(found))
	for _, c := range found {
		fmt.Fprintf(&b, "\n  %s  %s", c.ID[:min(shortID, len(c.ID))], fullName(c))
	}
	return nil, fmt.Errorf("%s", b.String())
}

// names returns what a container can be called beside its id.
func names(c *registry.Container) []string {
	return []string{
		c.Name, c.Pod, c.Pod + "/" + c.Name,
		c.Namespace + "/" + c.Pod, c.Namespace + "/" + c.Pod + "/" + c.Name,
	}
}

// fullName is the longest of a container's names.
func fullName(c *registry.Container) string {
	return printable(c.Namespace) + "/" + printable(c.Pod) + "/" + printable(c.Name)
}

// completeContainer offers the names of containers to the shell.
func completeContainer(runDir *string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		list, _, err := containers(*runDir)
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, c := range list {
			out = append(out, fullName(c)+"\t"+c.ID[:min(shortID, len(c.ID))])
		}
		slices.Sort(out)
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
