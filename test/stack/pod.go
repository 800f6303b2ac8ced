package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Pod is a pod sandbox of the stack.
type Pod struct {
	ID    string
	stack *Stack
	spec  Spec
	dir   string // its files
}

// A Container is a container of a pod.
type Container struct {
	ID, PodID string
	Log       string // path of what it writes
	stack     *Stack
}

// RunPod makes a pod that has no container yet. What spec says of a container
// is left out.
func (s *Stack) RunPod(ctx context.Context, spec Spec) (*Pod, error) {
	n := s.pods.Add(1)
	if spec.Name == "" {
		spec.Name = fmt.Sprintf("pod-%d", n)
	}
	p := &Pod{stack: s, spec: spec, dir: s.path("pods", fmt.Sprintf("%d-%s", n, spec.Name))}
	err := os.MkdirAll(p.dir, 0o755)
	if err == nil {
		err = writeJSON(p.file(), s.podConfig(spec, p.dir))
	}
	if err != nil {
		return nil, fmt.Errorf("write pod %s: %w", spec.Name, err)
	}
	id, err := s.Crictl(ctx, "runp", p.file())
	if err != nil {
		return nil, fmt.Errorf("run pod %s: %w", spec.Name, err)
	}
	p.ID = strings.TrimSpace(id)
	return p, nil
}

// file returns the path of the pod's configuration.
func (p *Pod) file() string { return filepath.Join(p.dir, "pod.json") }

// Create makes a container of the pod, which it does not start. What spec says
// of the pod is left out. Its name is the container's alone while it exists.
func (p *Pod) Create(ctx context.Context, spec Spec) (*Container, error) {
	name := or(spec.Container, "main")
	file, logs := filepath.Join(p.dir, name+".json"), filepath.Join(p.stack.podLogs(p.spec, p.dir), name)
	if err := errors.Join(os.MkdirAll(logs, 0o755), writeJSON(file, containerConfig(spec))); err != nil {
		return nil, fmt.Errorf("write container %s of %s: %w", name, p.spec.Name, err)
	}
	id, err := p.stack.Crictl(ctx, "create", p.ID, file, p.file())
	if err != nil {
		return nil, fmt.Errorf("create container %s of %s: %w", name, p.spec.Name, err)
	}
	return &Container{ID: strings.TrimSpace(id), PodID: p.ID, Log: filepath.Join(logs, "0.log"), stack: p.stack}, nil
}

// Remove takes the pod away with the containers that it still has, and then,
// as the kubelet does, its logs and its cgroup.
func (p *Pod) Remove(ctx context.Context) error {
	if err := p.stack.removePod(ctx, p.ID); err != nil {
		return err
	}
	err := errors.Join(os.RemoveAll(p.stack.podLogs(p.spec, p.dir)), os.RemoveAll(p.dir), removeCgroups(p.stack.podCgroup(p.dir)))
	if err != nil {
		return fmt.Errorf("remove pod %s: %w", p.spec.Name, err)
	}
	return nil
}

func (s *Stack) removePod(ctx context.Context, id string) error {
	if _, err := s.Crictl(ctx, "rmp", "--force", id); err != nil {
		return fmt.Errorf("remove pod: %w", err)
	}
	return nil
}

// Run makes a pod with a container, and starts that.
func (s *Stack) Run(ctx context.Context, spec Spec) (*Container, error) {
	c, err := s.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		return nil, errors.Join(err, c.Remove(ctx))
	}
	return c, nil
}

// Create makes a pod with a container, which it does not start.
func (s *Stack) Create(ctx context.Context, spec Spec) (*Container, error) {
	p, err := s.RunPod(ctx, spec)
	if err != nil {
		return nil, err
	}
	c, err := p.Create(ctx, spec)
	if err != nil {
		return nil, errors.Join(err, s.removePod(ctx, p.ID))
	}
	return c, nil
}

// Start starts the container.
func (c *Container) Start(ctx context.Context) error {
	if _, err := c.stack.Crictl(ctx, "start", c.ID); err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	return nil
}

// Delete stops the container and takes it away; its pod stays.
func (c *Container) Delete(ctx context.Context) error {
	for {
		_, err := c.stack.Crictl(ctx, "rm", "--force", c.ID)
		if err == nil {
			return nil
		}
		// containerd 2.4 says so of one that ends by itself at this moment:
		// its task has gone, and its state does not tell yet.
		if ctx.Err() != nil || !strings.Contains(err.Error(), "container is still running, to stop first") {
			return fmt.Errorf("remove container: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Remove takes the container away and then its pod, as the kubelet does:
// containerd 2.4 may stand still for ever when it is to remove both at once
// while an NRI plugin registers.
func (c *Container) Remove(ctx context.Context) error {
	if err := c.Delete(ctx); err != nil && !strings.Contains(err.Error(), "not found") {
		return err
	}
	return c.stack.removePod(ctx, c.PodID)
}
