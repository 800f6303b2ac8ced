package attach

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// DefaultTimeout is for how long a container's own file systems are waited
// for: the view itself answers within two seconds at its worst.
const DefaultTimeout = 5 * time.Second

// An Attacher works in the mount namespaces of a node's containers. Its
// methods may be called from many goroutines.
type Attacher struct {
	opts Options

	mu   sync.Mutex
	busy map[uint64]bool // inodes of mount namespaces that a thread is in
}

// New returns an Attacher; empty options take their defaults.
func New(o Options) *Attacher {
	if o.ProcRoot == "" {
		o.ProcRoot = "/proc"
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return &Attacher{opts: o, busy: make(map[uint64]bool)}
}

// Attach mounts files in the mount namespace of p. A file that is mounted
// already is left as it is, a mount of an earlier view is replaced. One result
// per file; the error says why none could be tried.
func (a *Attacher) Attach(ctx context.Context, p Process, files []File) ([]Result, error) {
	clones, refused := cloneAll(files)
	if len(clones) == 0 {
		return refused, nil
	}
	done, err := a.enter(ctx, p, func(ns *namespace) ([]Result, error) {
		return ns.attachAll(clones), nil
	}, func() { closeClones(clones) })
	if err != nil {
		return nil, err
	}
	return append(done, refused...), nil
}

// Detach takes the view's mounts off, in the mount namespace of p: those that
// keep reports false for, all that are of files when keep is nil. It finds
// them by the mount table, wherever the container moved them. One result per
// mount.
func (a *Attacher) Detach(ctx context.Context, p Process, keep func(Mount) bool) ([]Result, error) {
	if keep == nil {
		keep = Mount.IsWhole
	}
	return a.enter(ctx, p, func(ns *namespace) ([]Result, error) {
		return ns.detachAll(keep)
	}, nil)
}

// enter runs fn, and then cleanup, on a thread in the mount namespace of p.
// The thread is given up, not waited for, when ctx ends or the container's own
// file systems do not answer; until it is through, the namespace is refused
// with [ErrStuck], so that a hostile container costs one thread at most. What
// fn uses is the thread's, therefore, and cleanup frees it.
func (a *Attacher) enter(ctx context.Context, p Process, fn func(*namespace) ([]Result, error), cleanup func()) ([]Result, error) {
	if cleanup == nil {
		cleanup = func() {}
	}
	h, err := openProcess(a.opts.ProcRoot, p)
	if err != nil {
		cleanup()
		return nil, err
	}
	if !a.take(h.mountNS) {
		h.close()
		cleanup()
		return nil, fmt.Errorf("process %d: %w", p.PID, ErrStuck)
	}
	type reply struct {
		results []Result
		err     error
	}
	done := make(chan reply, 1)
	onSpareThread(func() {
		results, err := h.inNamespace(Source(a.opts.RunDir), fn)
		cleanup()
		h.close()
		a.give(h.mountNS)
		done <- reply{results, err}
	})
	ctx, cancel := context.WithTimeout(ctx, a.opts.Timeout)
	defer cancel()
	select {
	case r := <-done:
		return r.results, r.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("process %d: %w", p.PID, ErrStuck)
		}
		return nil, ctx.Err()
	}
}

func (a *Attacher) take(ns uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy[ns] {
		return false
	}
	a.busy[ns] = true
	return true
}

func (a *Attacher) give(ns uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.busy, ns)
}
