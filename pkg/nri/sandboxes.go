package nri

import (
	"context"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// Sandboxes is told which pod sandboxes the runtime has.
type Sandboxes interface {
	// Known is told of all there are, when a connection begins.
	Known(ids []string)
	// Added is told of one whose network is there already.
	Added(id string)
	// Removed is told of one that the runtime forgets now.
	Removed(id string)
	// Unknown is told that nothing is known until the next Known.
	Unknown()
}

var (
	_ stub.RunPodInterface    = (*plugin)(nil)
	_ stub.RemovePodInterface = (*plugin)(nil)
)

// RunPodSandbox notes a sandbox.
func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	p.sandboxes.Added(pod.GetId())
	return nil
}

// RemovePodSandbox forgets a sandbox. One that has only stopped is still the
// runtime's: its network may have to be torn down again.
func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	p.sandboxes.Removed(pod.GetId())
	return nil
}

// idsOf are the sandboxes' ids.
func idsOf(pods []*api.PodSandbox) []string {
	ids := make([]string, len(pods))
	for i, pod := range pods {
		ids[i] = pod.GetId()
	}
	return ids
}
