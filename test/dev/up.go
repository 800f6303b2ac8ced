package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// up starts the stack and leaves it running.
func (d *dev) up(ctx context.Context) (err error) {
	if stopped, err := d.stop(); err != nil {
		return err
	} else if stopped > 0 {
		d.progress("the stack that was up has been stopped first")
	}
	s, err := d.start(ctx, func(*stack.Stack) string { return "" })
	if err != nil {
		return err
	}
	env := d.environment(s)
	err = os.WriteFile(d.envFile(), []byte(env), 0o644)
	if err == nil {
		err = s.Detach()
	}
	if err != nil {
		return errors.Join(err, s.Stop())
	}
	d.progress("up; . run/dev.env sets PATH and addresses for crictl, ctr and truesize:")
	fmt.Fprint(d.out, "\n", env)
	return nil
}

// environment returns what run/dev.env says. crictl's two endpoints are in it
// because they win over its configuration where the caller has them set.
func (d *dev) environment(s *stack.Stack) string {
	return fmt.Sprintf(`# The stack that make up started; make down stops it. Use: . run/dev.env
export CONTAINERD_ADDRESS=%[1]s
export CONTAINERD_NAMESPACE=k8s.io
export CRI_CONFIG_FILE=%[2]s
export CONTAINER_RUNTIME_ENDPOINT=unix://%[1]s
export IMAGE_SERVICE_ENDPOINT=unix://%[1]s
export TRUESIZE_RUN_DIR=%[3]s
export TRUESIZE_STATE_DIR=%[4]s
export TRUESIZE_NRI_SOCKET=%[5]s
export TRUESIZE_METRICS_ADDRESS=%[6]s
export TRUESIZE_LOGS=%[7]s
export TRUESIZE_IMAGES="%[8]s %[9]s"
export PATH=%[10]s:%[11]s:$PATH
`, s.Socket(), s.CrictlConfig(), s.RunDir(), s.StateDir(), s.NRISocket(), s.MetricsAddress(), s.LogDir(),
		image.Debian, image.Small, filepath.Join(d.repo, "bin"), filepath.Join(d.repo, "bin", "tools"))
}

// down stops the stack that up started.
func (d *dev) down() error {
	stopped, err := d.stop()
	if err == nil && stopped == 0 {
		d.progress("no stack is up")
	}
	return err
}

// stop stops the stacks that up started, and removes what describes them.
func (d *dev) stop() (stopped int, err error) {
	if stopped, err = stack.Down(d.repo, d.progress); err != nil {
		return stopped, err
	}
	if err := os.Remove(d.envFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return stopped, err
	}
	return stopped, nil
}

func (d *dev) envFile() string { return filepath.Join(d.repo, "run", "dev.env") }
