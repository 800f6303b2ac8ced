package views

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/attach"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
	"github.com/truesize/truesize/test/cgroups"
)

func register(t *testing.T, c *registry.Container) *registry.Dir {
	t.Helper()
	reg, err := registry.Open(filepath.Join(t.TempDir(), "containers"))
	if err != nil {
		t.Fatal(err)
	}
	c.ID, c.Decision.Size = "a", size.Size{CPUs: 1, Memory: 1 << 30}
	if err := reg.Put(c); err != nil {
		t.Fatal(err)
	}
	return reg
}

// The process of a young container is waited for, that of an old one is not.
func TestStarted(t *testing.T) {
	c := &registry.Container{CreatedAt: time.Now()}
	reg := register(t, c)
	time.AfterFunc(100*time.Millisecond, func() {
		now := *c
		now.PID = 42
		if err := reg.Put(&now); err != nil {
			t.Error(err)
		}
	})
	if got, err := Started(t.Context(), reg, c); err != nil || got.PID != 42 {
		t.Errorf("young: %+v, %v", got, err)
	}
	old := &registry.Container{CreatedAt: time.Now().Add(-time.Hour)}
	reg = register(t, old)
	if _, err := Started(t.Context(), reg, old); !errors.Is(err, attach.ErrGone) {
		t.Errorf("old: %v", err)
	}
}

// As long as a container's process is not known its cgroup tells whose a process
// is.
func TestOwnsByCgroup(t *testing.T) {
	paths := cgroups.Make(t, "owns")
	reg := register(t, &registry.Container{Cgroup: paths})
	inside := exec.Command("sleep", "3600")
	if err := inside.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = inside.Process.Kill()
		_ = inside.Wait()
	}()
	owns := func(pid int, id string) bool { return Owns(reg, "/proc", id, attach.Process{PID: pid}) }
	if owns(inside.Process.Pid, "a") {
		t.Error("owns a process outside")
	}
	cgroups.Enter(t, paths, inside.Process.Pid)
	if !owns(inside.Process.Pid, "a") {
		t.Error("does not own a process inside")
	}
	if owns(inside.Process.Pid, "unknown") || owns(os.Getpid(), "a") {
		t.Error("owns what is not its own")
	}
}
