package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// batch is how many containers are made between a start and a stop of the
// agent: both cases meet the same machine, in turns.
const batch = 10

// A creation is what Truesize adds to the creation of containers.
type creation struct {
	without, with latency   // of CreateContainer and StartContainer together
	handling      histogram // of the agent's CreateContainer requests
}

// creations makes containers through the CRI of a private containerd, with
// the agent and without, in turns.
func (b *bench) creations() (c creation, err error) {
	repo, err := filepath.Abs(b.repo)
	if err != nil {
		return c, err
	}
	s, err := stack.Start(b.ctx, stack.Options{Repo: repo, Progress: func(line string) { fmt.Fprintln(b.stdout, line) }})
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	conn, err := grpc.NewClient("unix://"+s.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return c, err
	}
	defer conn.Close()
	m := maker{client: cri.NewRuntimeServiceClient(conn), parent: s.CgroupParent()}

	c.handling = histogram{}
	var with, without []time.Duration
	for turn := range b.creates/batch + 1 {
		off, err := m.batch(b.ctx, fmt.Sprintf("off-%d", turn), batch)
		if err != nil {
			return c, err
		}
		if err := s.StartAgent(b.ctx); err != nil {
			return c, err
		}
		// An agent runs for weeks: the first container after its start is not
		// what is measured.
		if _, err := m.batch(b.ctx, fmt.Sprintf("first-%d", turn), 1); err != nil {
			return c, err
		}
		if err := c.observe(b.ctx, s, -1); err != nil {
			return c, err
		}
		on, err := m.batch(b.ctx, fmt.Sprintf("on-%d", turn), batch)
		if err != nil {
			return c, err
		}
		if err := c.observe(b.ctx, s, 1); err != nil {
			return c, err
		}
		s.StopAgent()
		if turn > 0 { // the first turn warms both up
			without, with = append(without, off...), append(with, on...)
		}
	}
	c.with, c.without = summarize("", with), summarize("", without)
	return c, nil
}

// observe adds sign times the agent's histogram of CreateContainer requests.
func (c *creation) observe(ctx context.Context, s *stack.Stack, sign int64) error {
	dump, err := s.Get(ctx, "/metrics")
	if err != nil {
		return err
	}
	return c.handling.add(dump, "truesize_nri_request_duration_seconds", `request="CreateContainer"`, sign)
}

// A maker makes containers through the CRI.
type maker struct {
	client cri.RuntimeServiceClient
	parent string // cgroup
}

// batch makes a pod, times n containers that it creates and starts in it, and
// removes it.
func (m maker) batch(ctx context.Context, name string, n int) (ds []time.Duration, err error) {
	namespaces := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}
	pod := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Namespace: "bench", Uid: name},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    path.Join(m.parent, name),
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: namespaces},
		},
	}
	sandbox, err := m.client.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return nil, err
	}
	defer func() {
		_, rerr := m.client.RemovePodSandbox(context.WithoutCancel(ctx), &cri.RemovePodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
		err = errors.Join(err, rerr)
	}()
	for i := range n {
		start := time.Now()
		c, err := m.client.CreateContainer(ctx, &cri.CreateContainerRequest{
			PodSandboxId: sandbox.PodSandboxId, SandboxConfig: pod,
			Config: &cri.ContainerConfig{
				Metadata: &cri.ContainerMetadata{Name: "c" + strconv.Itoa(i)},
				Image:    &cri.ImageSpec{Image: image.Small},
				Command:  []string{"sleep", "3600"},
				Linux: &cri.LinuxContainerConfig{
					Resources:       &cri.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: 100000, MemoryLimitInBytes: limitMemory},
					SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: namespaces},
				},
			},
		})
		if err != nil {
			return nil, err
		}
		if _, err := m.client.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
			return nil, err
		}
		ds = append(ds, time.Since(start))
	}
	return ds, nil
}
