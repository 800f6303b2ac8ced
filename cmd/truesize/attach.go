package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/truesize/truesize/pkg/attach"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/views"
)

// hostProc is a procfs in which the containers' processes are: the node's
// own, and that of a pod with hostPID.
const hostProc = "/proc"

// openViews returns the views of the node that runDir is of, and makes the
// registry there if there is none.
func openViews(runDir string) (*views.Node, error) {
	dir, err := filepath.Abs(runDir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("%w: has the agent run here?", err)
	}
	reg, err := registry.Open(filepath.Join(dir, "containers"))
	if err != nil {
		return nil, err
	}
	return views.New(dir, hostProc, reg), nil
}

func attachCommand(runDir *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attach CONTAINER | --all",
		Short: "Give a view to a container that runs",
		Long: `Give a view to a container that runs.

The files of its /proc and /sys that tell of sizes are its own from then on;
what it has open or has read before stays as it is. Nothing is restarted.
Where the container has a mount of its own, that is left as it is.`,
		ValidArgsFunction: completeContainer(runDir),
	}
	return overContainers(cmd, runDir, func(ctx context.Context, n *views.Node, id string) ([]attach.Result, error) {
		return n.Attach(ctx, id)
	})
}

func detachCommand(runDir *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "detach CONTAINER | --all",
		Short: "Take the view off a container",
		Long: `Take the view off a container.

Its /proc and /sys show the node again. The agent does not attach the view by
itself after that.`,
		ValidArgsFunction: completeContainer(runDir),
	}
	return overContainers(cmd, runDir, func(ctx context.Context, n *views.Node, id string) ([]attach.Result, error) {
		return n.Detach(ctx, id)
	})
}

// overContainers makes cmd do work for the container it is given, or for all.
func overContainers(cmd *cobra.Command, runDir *string, work func(context.Context, *views.Node, string) ([]attach.Result, error)) *cobra.Command {
	all := cmd.Flags().Bool("all", false, "every container of the node")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if *all == (len(args) == 1) || len(args) > 1 {
			return errors.New("name one container, or say --all")
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		list, warning, err := containers(*runDir)
		if err != nil {
			return err
		}
		n, err := openViews(*runDir)
		if err != nil {
			return err
		}
		if warning != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "truesize: warning: %v\n", warning)
		}
		if !*all {
			c, err := find(list, args[0])
			if err != nil {
				return err
			}
			list = []*registry.Container{c}
		}
		var errs []error
		for _, c := range list {
			results, err := work(cmd.Context(), n, c.ID)
			if *all && (errors.Is(err, views.ErrNotEligible) || errors.Is(err, attach.ErrGone) || errors.Is(err, registry.ErrNotFound)) {
				continue
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", fullName(c), err))
			}
			writeResults(cmd.OutOrStdout(), fullName(c), results)
			if n := refused(results); n > 0 && err == nil {
				errs = append(errs, fmt.Errorf("%s: %d of %d files were refused", fullName(c), n, len(results)))
			}
		}
		return errors.Join(errs...)
	}
	return cmd
}

// refused returns of how many files nothing was done. That a container has a
// mount of its own is no failure.
func refused(results []attach.Result) (n int) {
	for _, r := range results {
		if r.Outcome == attach.Refused && !errors.Is(r.Err, attach.ErrOwnMount) {
			n++
		}
	}
	return n
}

func writeResults(w io.Writer, name string, results []attach.Result) {
	for _, r := range results {
		if r.Err != nil {
			fmt.Fprintf(w, "%s  %s  %s: %s\n", name, printable(r.Target), r.Outcome, printable(r.Err.Error()))
			continue
		}
		fmt.Fprintf(w, "%s  %s  %s\n", name, printable(r.Target), r.Outcome)
	}
}

func repairCommand(runDir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "repair",
		Short: "Put live views into the place of dead ones",
		Long: `Put live views into the place of dead ones, in every container.

A view dies only when all of truesize-viewd is killed at once, or its
connection is aborted. It repairs the containers by itself when it is back;
this is for the case that it could not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := openRegistry(*runDir); err != nil {
				return err
			}
			n, err := openViews(*runDir)
			if err != nil {
				return err
			}
			done, err := n.Repair(cmd.Context())
			errs := []error{err}
			for _, r := range done {
				name := fmt.Sprintf("process %d", r.Namespace.Process.PID)
				writeResults(cmd.OutOrStdout(), name, r.Results)
				if r.Err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", name, r.Err))
				}
			}
			if len(done) == 0 && err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to repair")
			}
			return errors.Join(errs...)
		},
	}
}
