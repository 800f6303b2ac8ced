package attach

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// A Repair tells what was done in one mount namespace.
type Repair struct {
	Namespace Namespace
	Results   []Result
	Err       error
}

// Repair puts the files of the view, mounted on RunDir/view, into the place of
// those of earlier views, in every mount namespace of the node. Where the view
// does not know the container any more, the stale mount is taken off: the
// host's file is better than one that cannot be read. Mounts of the view that
// runs need no repair: its server is started again behind them.
//
// A container can make mounts that look like stale ones of another container.
// owns reports whether process p belongs to the container of that id; where
// it does not, the mount is taken off and nothing put in its place.
func (a *Attacher) Repair(ctx context.Context, owns func(p Process, containerID string) bool) ([]Repair, error) {
	view := filepath.Join(a.opts.RunDir, "view")
	var st unix.Stat_t
	if err := unix.Stat(view, &st); err != nil {
		return nil, sourceError("stat", view, err)
	}
	live := deviceOf(st.Dev)
	if err := a.checkView(view, live); err != nil {
		return nil, err
	}
	namespaces, err := a.Namespaces()
	var done []Repair
	for _, ns := range namespaces {
		if !anyStale(ns, live) {
			continue
		}
		files := staleFiles(ns, view, live, owns)
		r := Repair{Namespace: ns}
		r.Results, r.Err = a.repair(ctx, ns.Process, files, live)
		if !errors.Is(r.Err, ErrGone) {
			done = append(done, r)
		}
	}
	return done, err
}

// repair replaces what it can, and takes off what cannot be replaced.
func (a *Attacher) repair(ctx context.Context, p Process, stale []File, live Device) ([]Result, error) {
	results, err := a.Attach(ctx, p, stale)
	if err != nil {
		return nil, err
	}
	rest, err := a.Detach(ctx, p, func(m Mount) bool { return m.Device == live })
	if err != nil {
		return results, err
	}
	kept := results[:0]
	for _, r := range results {
		if r.Outcome != Refused { // Detach tells what became of it
			kept = append(kept, r)
		}
	}
	return append(kept, rest...), nil
}

func anyStale(ns Namespace, live Device) bool {
	return slices.ContainsFunc(ns.Views, func(m Mount) bool { return m.Device != live })
}

// staleFiles returns what is to be mounted in ns in the place of the mounts of
// views other than the live one, each target once.
func staleFiles(ns Namespace, view string, live Device, owns func(Process, string) bool) []File {
	var list []File
	seen := make(map[string]bool)
	for _, m := range ns.Views {
		if m.Device == live || m.IsWhole() || seen[m.Target] || !owns(ns.Process, m.Container()) {
			continue
		}
		seen[m.Target] = true
		// Root is the kernel's own normal path: no "..", and none is followed.
		list = append(list, File{Source: filepath.Join(view, m.Root), Target: m.Target})
	}
	return list
}

// checkView makes sure that a view is mounted on path, and not only its
// directory there.
func (a *Attacher) checkView(path string, dev Device) error {
	table, err := tableOf(a.opts.ProcRoot, "thread-self")
	for _, m := range table {
		if m.Device == dev && m.isView(Source(a.opts.RunDir)) {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("%s: %w: no view is mounted there", path, ErrViewDead), err)
}
