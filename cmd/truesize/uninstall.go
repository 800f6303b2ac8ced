package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/state"
	"github.com/truesize/truesize/fuse"
	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/pkg/viewd"
)

// stopWithin is how long truesize-viewd may take to end.
const stopWithin = 30 * time.Second

func uninstallCommand(runDir *string) *cobra.Command {
	var stateDir string
	var stay bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take Truesize off this node",
		Long: `Take Truesize off this node.

The views are taken off the containers, truesize-viewd is stopped, and the run
and state directories are removed. Stop the agent first: delete its DaemonSet.
Containers go on; those with the preloaded shim keep it until they end. What
they need of the macvlan plugin's records stays, as do log records that Kafka
refused; where there are such, it says so.

Where nothing is left to take off, nothing is done, and that is no error.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := uninstall(cmd.Context(), cmd.OutOrStdout(), *runDir, stateDir, "/sys/fs/cgroup")
			if err == nil && stay {
				<-cmd.Context().Done()
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&stay, "stay", false, "stay when it is done, until told to end: for a DaemonSet, which starts again what ends")
	cmd.Flags().StringVar(&stateDir, "state-dir", envOr("TRUESIZE_STATE_DIR", "/var/lib/truesize"), "state directory of the agent ($TRUESIZE_STATE_DIR)")
	return cmd
}

func uninstall(ctx context.Context, w io.Writer, runDir, stateDir, cgroups string) error {
	_, err := os.Stat(runDir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		fmt.Fprintf(w, "%s is not there\n", runDir)
		if err := removeNetworkState(w, runDir, stateDir); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if err := uninstallRun(ctx, w, runDir, stateDir); err != nil {
			return err
		}
	}
	if err := removeCgroups(cgroups, viewd.Cgroup); err != nil {
		return err
	}
	if err := removeLogState(w, stateDir); err != nil {
		return err
	}
	return removeOwn(w, stateDir, "shim", "viewd")
}

// removeLogState removes how far logs were forwarded. Records that were refused
// are in no other place: a file that has some stays.
func removeLogState(w io.Writer, stateDir string) error {
	dir := filepath.Join(stateDir, "logs")
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := os.Lstat(f)
		if err == nil && strings.HasPrefix(filepath.Base(f), "dead-letter.jsonl") && info.Size() > 0 {
			fmt.Fprintf(w, "left %s: log records that Kafka refused; remove it when you have seen to them\n", f)
			continue
		}
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// removeNetworkState removes what the macvlan plugin remembers. Records of
// attachments stay: the plugin needs them when the containers end, which it
// does without the agent.
func removeNetworkState(w io.Writer, runDir, stateDir string) error {
	d, err := state.Open(filepath.Join(runDir, "cni"), filepath.Join(stateDir, "cni"))
	if err != nil {
		return err
	}
	recorded, err := d.RemoveAll()
	if len(recorded) > 0 {
		fmt.Fprintf(w, "left %s and %s: truesize-macvlan needs them for %d attachments, the first of them %s; remove those pods and run this again\n",
			d.Run, d.State, len(recorded), recorded[0])
	}
	return err
}

// uninstallRun undoes what there is at run time.
func uninstallRun(ctx context.Context, w io.Writer, runDir, stateDir string) error {
	n, err := openViews(runDir)
	if err != nil {
		return err
	}
	// Held to the end: no agent starts meanwhile.
	unlock, err := lockOutAgent(n.RunDir)
	if err != nil {
		return err
	}
	defer unlock()
	count, err := n.DetachAll(ctx)
	if err != nil {
		return fmt.Errorf("the views are still in some containers, nothing else was done: %w", err)
	}
	fmt.Fprintf(w, "took the view off %d mount namespaces\n", count)
	if err := stopView(ctx, n.RunDir); err != nil {
		return err
	}
	fmt.Fprintln(w, "stopped truesize-viewd")
	if err := errors.Join(fuse.Detach(filepath.Join(n.RunDir, "view")), fuse.Unshare(n.RunDir)); err != nil {
		return err
	}
	if err := removeNetworkState(w, n.RunDir, stateDir); err != nil {
		return err
	}
	return removeOwn(w, n.RunDir, "containers", "view", "viewd.lock", "viewd.sock", "viewd.log", "viewd.log.1",
		"keeper.sock", "keeper.sock.new", "agent.lock", "agent.sock", "logs.sock")
}

// removeCgroups removes the cgroups in which truesize-viewd was.
func removeCgroups(root, name string) error {
	dirs := []string{filepath.Join(root, name)}
	below, err := filepath.Glob(filepath.Join(root, "*", name)) // v1's hierarchies
	if err != nil {
		return err
	}
	for _, dir := range append(dirs, below...) {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			continue // none of ours
		}
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: does something still run in it?", err)
		}
	}
	return nil
}

// lockOutAgent takes the agent's lock, which fails while one runs: it would
// start truesize-viewd again.
func lockOutAgent(runDir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(runDir, "agent.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("the agent still runs on this node: delete its DaemonSet first (lock %s: %w)", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// stopView ends truesize-viewd, systemd's unit of it first: that would start
// it again.
func stopView(ctx context.Context, runDir string) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if err := viewd.RemoveUnit(ctx, runDir); err != nil {
		return err
	}
	return keeper.Stop(ctx, filepath.Join(runDir, "keeper.sock"), filepath.Join(runDir, "viewd.lock"))
}

// mayStay are the entries of the run and the state directory that may be left,
// for a reason that was printed.
var mayStay = []string{"cni", "logs"}

// removeOwn removes what the product made in dir, and dir when nothing else is
// in it. A dir on which the admin has mounted something stays, empty.
func removeOwn(w io.Writer, dir string, names ...string) error {
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	err := os.Remove(dir)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(w, "removed %s\n", dir)
		return nil
	}
	left, listErr := os.ReadDir(dir)
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	var foreign []string
	for _, e := range left {
		if !slices.Contains(mayStay, e.Name()) {
			foreign = append(foreign, e.Name())
		}
	}
	if len(foreign) > 0 {
		return fmt.Errorf("%w: not of Truesize's making is in it: %s", err, strings.Join(foreign, ", "))
	}
	if len(left) == 0 && !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}
