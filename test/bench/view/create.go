package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// batch is how many containers are made between a start and a stop of the
// agent: all cases meet the same machine, in turns.
const batch = 10

// mostPaced bounds the containers that are made one a second.
const mostPaced = 60

// A creation is what Truesize adds to the creation of containers.
type creation struct {
	// CreateContainer and StartContainer together, without Truesize, of
	// containers that it leaves alone, and of those that it injects.
	without, alone, with latency
	// Ratios of each turn's medians to that without.
	toWith, toAlone spread
	// How long the agent takes to answer NRI's CreateContainer, of containers
	// made one after the other, one a second, and ten at once.
	serial, paced, crowd latency
	pauses               pauses
}

// creations makes containers through the CRI of a private containerd.
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
	l := agentLog{path: filepath.Join(s.LogDir(), "truesized.log")}
	if c.pauses, err = countPauses(); err != nil {
		return c, err
	}
	if err := c.turns(b, s, m, &l); err != nil {
		return c, err
	}
	return c, c.handlings(b, s, m, &l)
}

// turns makes containers with the agent and without, in turns.
func (c *creation) turns(b *bench, s *stack.Stack, m maker, l *agentLog) error {
	var with, alone, without, handling []time.Duration
	var toWith, toAlone []float64
	for turn := range b.creates/batch + 1 {
		var off, on, left, took []time.Duration
		withoutAgent := func() (err error) {
			off, err = m.settled(b.ctx, fmt.Sprintf("off-%d", turn))
			return err
		}
		withAgent := func() (err error) {
			if err := s.StartAgent(b.ctx); err != nil {
				return err
			}
			defer s.StopAgent()
			if err := l.skip(); err != nil {
				return err
			}
			if on, err = m.settled(b.ctx, fmt.Sprintf("on-%d", turn)); err != nil {
				return err
			}
			if took, err = l.handled(); err != nil {
				return err
			}
			took = took[1:] // without the agent's first
			left, err = leftAlone(m).settled(b.ctx, fmt.Sprintf("left-%d", turn))
			return err
		}
		cases := []func() error{withoutAgent, withAgent}
		for i := range cases {
			if err := cases[(turn+i)%2](); err != nil {
				return err
			}
		}
		if turn == 0 { // warms both up
			continue
		}
		without, alone, with = append(without, off...), append(alone, left...), append(with, on...)
		handling = append(handling, took...)
		base := float64(summarize("", off).P50)
		toWith = append(toWith, float64(summarize("", on).P50)/base)
		toAlone = append(toAlone, float64(summarize("", left).P50)/base)
	}
	c.without, c.alone, c.with = summarize("", without), summarize("", alone), summarize("", with)
	c.toWith, c.toAlone = spreadOf(toWith), spreadOf(toAlone)
	c.serial = summarize("", handling)
	return nil
}

// settle is how long a node is left to itself before containers are made.
const settle = time.Second

// settled makes a batch of containers as on a node that has been up for long: the
// first container of an agent, and what it does at its start, are not measured.
func (m maker) settled(ctx context.Context, name string) ([]time.Duration, error) {
	if _, err := m.batch(ctx, name+"-first", 1, serially); err != nil {
		return nil, err
	}
	time.Sleep(settle)
	return m.batch(ctx, name, batch, serially)
}

// startAgent starts the agent and makes its first container.
func (b *bench) startAgent(s *stack.Stack, m maker) error {
	if err := s.StartAgent(b.ctx); err != nil {
		return err
	}
	_, err := m.batch(b.ctx, "first", 1, serially)
	return err
}

// handlings makes containers as nodes do: one now and then, and many at once.
func (c *creation) handlings(b *bench, s *stack.Stack, m maker, l *agentLog) error {
	if err := b.startAgent(s, m); err != nil {
		return err
	}
	defer s.StopAgent()
	for _, of := range []struct {
		latency *latency
		name    string
		how     pace
	}{{&c.paced, "paced", paced}, {&c.crowd, "crowd", atOnce}} {
		if err := l.skip(); err != nil {
			return err
		}
		n := b.creates
		if of.how == paced {
			n = min(n, mostPaced)
		}
		for turn := range n / batch {
			if _, err := m.batch(b.ctx, fmt.Sprintf("%s-%d", of.name, turn), batch, of.how); err != nil {
				return err
			}
		}
		took, err := l.handled()
		if err != nil {
			return err
		}
		*of.latency = summarize("", took)
	}
	return nil
}

// report writes the section of the report.
func (c *creation) report(w io.Writer) {
	fmt.Fprintf(w, "### Creation of containers\n\n"+
		"CreateContainer and StartContainer of the CRI, %d containers each, in turns of %d.\n"+
		"Ratios are the median of the turns', with their quartiles: with Truesize %.3f×\n"+
		"(%s); of containers that it leaves alone, for which the runtime asks it all the\n"+
		"same, %.3f× (%s). All containers' p50: without Truesize %s, with it %s,\n"+
		"left alone %s.\n\n"+
		"The agent's answer to NRI's CreateContainer, by the agent's log:\n\n",
		c.with.Reads, batch, c.toWith.median, c.toWith, c.toAlone.median, c.toAlone,
		ms(c.without.P50), ms(c.with.P50), ms(c.alone.P50))
	table(w, func(t func(cells ...string)) {
		t("containers are made", "p50", "p99", "requests")
		t("one after the other", ms(c.serial.P50), ms(c.serial.P99), strconv.Itoa(c.serial.Reads))
		t("one a second", ms(c.paced.P50), ms(c.paced.P99), strconv.Itoa(c.paced.Reads))
		t(fmt.Sprintf("%d at once", batch), ms(c.crowd.P50), ms(c.crowd.P99), strconv.Itoa(c.crowd.Reads))
	})
	fmt.Fprintf(w, "In these times is what the machine takes for itself: a thread that only looks at the\n"+
		"clock, on each CPU, with nothing else to do, is kept from it %.1f times a second for\n"+
		"%s or longer, at most for %s (counted for %s).\n\n", c.pauses.perSecond, ms(longPause), ms(c.pauses.longest), pausesFor)
}

// A maker makes containers through the CRI.
type maker struct {
	client cri.RuntimeServiceClient
	parent string // cgroup
	// annotations are those of the pods.
	annotations map[string]string
}

// leftAlone returns m for pods that do not want Truesize.
func leftAlone(m maker) maker {
	m.annotations = map[string]string{"truesize.dev/inject": "false"}
	return m
}

// A pace is how the containers of a batch follow each other.
type pace int

const (
	serially pace = iota
	paced         // one a second
	atOnce
)

// batch makes a pod, times n containers that it creates and starts in it, and
// removes it.
func (m maker) batch(ctx context.Context, name string, n int, how pace) (ds []time.Duration, err error) {
	pod := &cri.PodSandboxConfig{
		Metadata:    &cri.PodSandboxMetadata{Name: name, Namespace: "bench", Uid: name},
		Annotations: m.annotations,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    path.Join(m.parent, name),
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: namespaces()},
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
	ds, errs := make([]time.Duration, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		one := func() { ds[i], errs[i] = m.container(ctx, pod, sandbox.PodSandboxId, "c"+strconv.Itoa(i)) }
		switch how {
		case atOnce:
			wg.Go(one)
			continue
		case paced:
			time.Sleep(time.Second)
		}
		one()
	}
	wg.Wait()
	return ds, errors.Join(errs...)
}

func namespaces() *cri.NamespaceOption {
	return &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}
}

// container creates and starts one container and times it.
func (m maker) container(ctx context.Context, pod *cri.PodSandboxConfig, sandbox, name string) (time.Duration, error) {
	start := time.Now()
	c, err := m.client.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: sandbox, SandboxConfig: pod,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: name},
			Image:    &cri.ImageSpec{Image: image.Small},
			Command:  []string{"sleep", "3600"},
			Linux: &cri.LinuxContainerConfig{
				Resources:       &cri.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: 100000, MemoryLimitInBytes: limitMemory},
				SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: namespaces()},
			},
		},
	})
	if err != nil {
		return 0, err
	}
	_, err = m.client.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: c.ContainerId})
	return time.Since(start), err
}
