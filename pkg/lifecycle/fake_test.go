package lifecycle

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

const (
	gib    = 1 << 30
	bootID = "boot"
	idA    = "aaaaaaaaaaaa"
	idB    = "bbbbbbbbbbbb"
)

var errTest = errors.New("test")

// fakeKernel is a node of 8 CPUs and 16 GiB.
type fakeKernel struct {
	host      size.Host
	limits    size.Limits // of every cgroup
	limitsErr error
	hostErr   error
	processes map[int]uint64 // start times
	asked     []map[string]string
	cpus      []int // of every cgroup above
	cpusErr   error
	static    bool
	staticErr error
	first     int // of every container, 0 for none
	firstAge  time.Duration
	firstErr  error
	looks     int    // calls of First
	reading   func() // called while a process is read; nil is not
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{
		host:      size.Host{CPUs: 8, Memory: 16 * gib},
		processes: map[int]uint64{42: 4200},
	}
}

func (k *fakeKernel) Host() (size.Host, error) { return k.host, k.hostErr }

func (k *fakeKernel) PathsFromSpec(p string) (map[string]string, error) {
	if p == "bad" {
		return nil, errTest
	}
	return map[string]string{"": p}, nil
}

func (k *fakeKernel) Limits(paths map[string]string) (size.Limits, error) {
	k.asked = append(k.asked, paths)
	return k.limits, k.limitsErr
}

func (k *fakeKernel) CPUs(paths map[string]string) ([]int, error) { return k.cpus, k.cpusErr }

func (k *fakeKernel) First(id string, paths map[string]string) (int, time.Duration, error) {
	k.looks++
	return k.first, k.firstAge, k.firstErr
}

func (k *fakeKernel) StaticCPUManager() (bool, error) { return k.static, k.staticErr }

func (k *fakeKernel) Process(pid int) (uint64, map[string]string, error) {
	if k.reading != nil {
		k.reading()
	}
	ticks, ok := k.processes[pid]
	if !ok {
		return 0, nil, fs.ErrNotExist
	}
	return ticks, map[string]string{"": "/real"}, nil
}

// fakeView answers err, and notes what it was asked after the entry was there.
type fakeView struct {
	dir     *registry.Dir
	err     error
	checked []string
	known   bool
	during  func(id string) // called while the view is asked; nil is not
}

func (v *fakeView) Check(_ context.Context, id string, paths []string) error {
	v.checked = paths
	_, err := v.dir.Get(id)
	v.known = err == nil
	if v.during != nil {
		v.during(id)
	}
	return v.err
}

type fakeObserver struct {
	errors   map[string]int
	warnings int
}

func (o *fakeObserver) Error(op string) { o.errors[op]++ }
func (o *fakeObserver) Warnings(n int)  { o.warnings += n }

// A bench is a manager with all that is around it.
type bench struct {
	*Manager
	dir      *registry.Dir
	kernel   *fakeKernel
	view     *fakeView
	observer *fakeObserver
}

func newBench(t *testing.T, edits ...func(*Config)) *bench {
	t.Helper()
	dir, err := registry.Open(filepath.Join(t.TempDir(), "containers"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{dir: dir, kernel: newFakeKernel(), view: &fakeView{dir: dir}, observer: &fakeObserver{errors: make(map[string]int)}}
	cfg := Config{
		Registry: dir, Kernel: b.kernel, View: b.view, Via: "nri", PossibleCPUs: 16, BootID: bootID, Observer: b.observer,
		ShimPresent: func() bool { return true },
		Inject: inject.Config{
			Namespaces: inject.Namespaces{Exclude: []string{"kube-system"}},
			View:       true, Shim: true, NumCPUs: true,
			ViewDir: "/run/truesize/view", Files: inject.Files(),
			ShimSource: "/shim.so", ShimTarget: inject.ShimTarget("0a1b2c3d4e5f"),
			PageTarget: registry.SizePagePath,
		},
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	b.Manager = New(cfg)
	return b
}

// get returns an entry that must be there.
func (b *bench) get(t *testing.T, id string) *registry.Container {
	t.Helper()
	c, err := b.dir.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantErrors checks which operations failed.
func (b *bench) wantErrors(t *testing.T, want map[string]int) {
	t.Helper()
	if !maps.Equal(b.observer.errors, want) {
		t.Errorf("errors %v, want %v", b.observer.errors, want)
	}
}

// testSpec is a container with a limit of 1.5 CPUs and 1 GiB.
func testSpec(id string) Spec {
	return Spec{
		Container: inject.Container{
			ID: id, SandboxID: "sandbox", Name: "main", Pod: "web-0", PodUID: "uid", Namespace: "shop",
			Env: []string{"PATH=/bin"},
			Mounts: []inject.Mount{
				{Destination: "/proc", Type: "proc", Source: "proc"},
				{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
				{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
			},
		},
		CgroupsPath: "/kubepods/" + id,
		Limits:      size.Limits{CPUMilli: 1500, Memory: gib},
	}
}
