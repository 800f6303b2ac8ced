// Package e2e shows Truesize as an admin installs it: the image of make image
// and the manifests of deploy/kubernetes, unchanged, on a Kubernetes of one
// node, which has systemd and containerd, and paths of a node of its own.
//
// make e2e builds what it runs.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/reads"
	"github.com/truesize/truesize/test/stack"
	"github.com/truesize/truesize/test/systemd"
)

// The node of all tests, and its cluster.
var (
	node    *stack.Stack
	cluster *stack.Kubernetes
	// agentReference is the image that was loaded: another may be built
	// meanwhile.
	agentReference string
	begin          = time.Now()
)

func TestMain(m *testing.M) {
	reads.Role()
	hogRole()
	systemd.Main(func(ctx context.Context) (int, error) { return onNode(ctx, m) })
}

// progress prints a line.
func progress(step string) { fmt.Printf("%5.1fs  %s\n", time.Since(begin).Seconds(), step) }

// onNode starts the cluster and runs the tests.
func onNode(ctx context.Context, m *testing.M) (status int, err error) {
	repo, err := filepath.Abs("../..")
	if err == nil {
		repo, err = filepath.EvalSymlinks(repo)
	}
	if err != nil {
		return 1, err
	}
	images, err := image.Ensure(ctx, filepath.Join(repo, "run", "images"), progress)
	if err != nil {
		return 1, err
	}
	if agentReference, err = reference(agentImage()); err != nil {
		return 1, err
	}
	if err := ownPaths(); err != nil {
		return 1, err
	}
	node, err = stack.Start(ctx, stack.Options{Repo: repo, Images: []string{images.Small, images.Debian, agentImage()}, Standard: true, Progress: progress})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, node.Stop()) }()
	if cluster, err = node.StartKubernetes(ctx); err != nil {
		return 1, err
	}
	defer cluster.Stop()
	progress("the node is ready")
	done := make(chan int, 1)
	go func() { done <- m.Run() }()
	select {
	case status = <-done:
		if status != 0 {
			fmt.Fprintln(os.Stderr, node.Logs(2<<10))
		}
		return status, nil
	case <-ctx.Done():
		return 1, errors.New("interrupted")
	}
}

// agentImage returns the archive of make image.
func agentImage() string {
	return filepath.Join("..", "..", "bin", "truesize-image-"+runtime.GOARCH+".tar")
}

// ownPaths gives the node what it would else share with the machine, in this
// mount namespace: directories that Truesize and the CNI write to, and the
// sysctls that the kubelet sets, which are not to be written there: it finds
// them as it wants them.
func ownPaths() error {
	if err := unix.Mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount /var/lib: %w", err)
	}
	for name, value := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		file := filepath.Join("/run/sysctl", name)
		err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(value+"\n"), 0o644))
		if err == nil {
			err = unix.Mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("sysctl %s: %w", name, err)
		}
	}
	return nil
}
