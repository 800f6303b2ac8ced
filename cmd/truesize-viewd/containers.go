package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/truesize/truesize/pkg/attach"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/views"
)

// repairContainers puts the view into the place of those of earlier keepers:
// after both processes of one were killed at once, and after an abort.
func repairContainers(ctx context.Context, c config, log *slog.Logger) {
	reg, err := registry.Open(c.path("containers"))
	if err != nil {
		log.Error("containers not repaired", "error", err)
		return
	}
	owns := func(p attach.Process, id string) bool { return views.Owns(reg, c.procRoot, id, p) }
	done, err := attach.New(attach.Options{RunDir: c.runDir, ProcRoot: c.procRoot}).Repair(ctx, owns)
	for _, r := range done {
		log.Warn("repaired the views of a container", "pid", r.Namespace.Process.PID, "results", fmt.Sprint(r.Results), "error", r.Err)
	}
	if err != nil && ctx.Err() == nil {
		log.Error("containers not repaired", "error", err)
	}
}

// detachAll takes the view's files off every container.
func detachAll(c config, log *slog.Logger) {
	a := attach.New(attach.Options{RunDir: c.runDir, ProcRoot: c.procRoot})
	list, err := a.Namespaces()
	if err != nil {
		log.Error("not every container was looked at", "error", err)
	}
	for _, ns := range list {
		if results, err := a.Detach(context.Background(), ns.Process, nil); err != nil {
			log.Error("the view stays in a container", "pid", ns.Process.PID, "error", err, "results", fmt.Sprint(results))
		}
	}
}
