// Package lifecycle follows the node's containers from creation to removal:
// it sizes them, decides what is injected, and keeps the registry in step.
//
// It knows no container runtime: adapters (pkg/nri) translate what theirs
// tells into a [Spec] and call the [Manager]. It imports pkg/inject,
// pkg/registry, pkg/cgroup, pkg/cpuset and pkg/size only.
package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/truesize/truesize/pkg/inject"
	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

// A Spec is what a runtime tells of a container.
type Spec struct {
	inject.Container
	// CgroupsPath is linux.cgroupsPath of its OCI specification: where its
	// cgroup is or will be. Empty when the runtime did not say.
	CgroupsPath string
	// Limits are those that the spec itself asks for.
	Limits size.Limits
	// CPUShares is the CRI's cpu_shares, 1024 per requested CPU; 0 is none.
	CPUShares uint64
	// PID is the container's init, 0 until it exists.
	PID int
	// Image and PodIP are what the runtime says of them, empty when it does
	// not. No rule depends on them.
	Image, PodIP string
	// CPUs is the CPU set of its spec (linux.resources.cpu.cpus), in the
	// kernel's list format; empty without one.
	CPUs string
}

// A Kernel answers what the node's kernel knows.
type Kernel interface {
	// Host returns the node's own size.
	Host() (size.Host, error)
	// PathsFromSpec returns the paths of the cgroup that a runtime makes for
	// linux.cgroupsPath, by v1 controller, or "" for the unified hierarchy.
	PathsFromSpec(cgroupsPath string) (map[string]string, error)
	// Limits returns the effective limits at paths. Where the cgroup does not
	// exist yet those of its ancestors count.
	Limits(paths map[string]string) (size.Limits, error)
	// Process returns the start time of a process (field 22 of
	// /proc/PID/stat) and its cgroup paths. The error wraps fs.ErrNotExist
	// when it has ended.
	Process(pid int) (startTicks uint64, paths map[string]string, err error)
	// CPUs returns the CPUs that the cgroup at paths may use, ascending. Where
	// it does not exist yet those of its nearest ancestor count.
	CPUs(paths map[string]string) ([]int, error)
	// First returns the oldest process of the cgroup at paths and of those below
	// it, which of a container is its init, and for how long it has run; pid is 0
	// when there is none. Without paths it looks for cgroups that have the
	// container's id in their names.
	First(id string, paths map[string]string) (pid int, age time.Duration, err error)
	// StaticCPUManager reports whether the kubelet gives containers CPUs of
	// their own.
	StaticCPUManager() (bool, error)
}

// A View is the server of the containers' files.
type View interface {
	// Check returns nil when the server answers for every one of a
	// container's paths. It returns by ctx's deadline in any case.
	Check(ctx context.Context, id string, paths []string) error
}

// An Observer is told what happens, for metrics.
type Observer interface {
	// Error is told of an operation that failed and was worked around.
	Error(op string)
	// Warnings is told of inputs of a new container that could not be used.
	Warnings(n int)
}

// Config is what a [Manager] works with. Every field but ShimPresent,
// PossibleCPUs and Log is needed.
type Config struct {
	Registry *registry.Dir
	Kernel   Kernel
	View     View
	Inject   inject.Config
	// ShimPresent reports whether the shim's object is installed; nil is no.
	ShimPresent func() bool
	// PossibleCPUs is the number of CPUs the node can ever have, 0 when it is
	// not known.
	PossibleCPUs int
	// FromRequests is the admin's opt-in of that name.
	FromRequests bool
	// Via marks the entries that are ours in the registry.
	Via string
	// BootID is /proc/sys/kernel/random/boot_id.
	BootID   string
	Observer Observer
	Log      *slog.Logger
}

// A Manager follows containers. Its methods may be called concurrently.
type Manager struct {
	cfg Config
	now func() time.Time

	// holds order the read-modify-write of entries.
	holds holds
	// placing is held while CPU sets are chosen, from the look at those that
	// there are until the new ones are registered.
	placing sync.Mutex

	unbalanced chan struct{}
	awaited    awaited
}

// New returns a manager.
func New(cfg Config) *Manager {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Manager{cfg: cfg, now: time.Now, unbalanced: make(chan struct{}, 1)}
}

// Create sizes a container that is about to be created, registers it and
// returns what to add to it. The entry is in the registry before Create
// returns, because the runtime looks the mounts' sources up at once.
//
// An error means that nothing may be added: the id is none, or ctx ended.
// Whatever else fails costs the part that needs it, never the container.
func (m *Manager) Create(ctx context.Context, s Spec) (inject.Adjustment, error) {
	if err := registry.ValidID(s.ID); err != nil {
		m.fail("validate", "refused a container", err)
		return inject.Adjustment{}, err
	}
	c := m.newEntry(s)
	defer m.holds.take(s.ID)()
	// The wait may have used ctx up.
	if err := ctx.Err(); err != nil {
		return inject.Adjustment{}, err
	}
	adj := m.register(ctx, s, c)
	if err := ctx.Err(); err != nil {
		return inject.Adjustment{}, err
	}
	m.cfg.Observer.Warnings(len(adj.Warnings) + len(c.Decision.Warnings))
	m.await(c)
	return adj, nil
}

// register plans and writes the entry, and plans again without what turns out
// not to work.
func (m *Manager) register(ctx context.Context, s Spec, c *registry.Container) inject.Adjustment {
	hoped := inject.State{ViewAnswers: true, ShimPresent: m.shimPresent()}
	hoped.SizePage, _ = m.cfg.Registry.SizePageFile(s.ID) // fails for bad ids only
	adj, st := m.enter(s, c, &hoped)
	if st.ViewAnswers && len(adj.Views) > 0 {
		st.ViewAnswers = m.viewAnswers(ctx, s.ID, adj.Views)
	}
	if ctx.Err() != nil {
		return adj // nobody waits any more
	}
	if st == hoped || adj.Skip != "" {
		return adj
	}
	adj = m.plan(s, c, st)
	_ = m.put(c) // counted and logged; the facts in the entry are the admin's, no part acts on them
	return adj
}

// enter plans with what is hoped for, to which it adds the CPU set, and writes
// the entry. It returns what is left of the hopes: without an entry, the view
// does not know the container.
func (m *Manager) enter(s Spec, c *registry.Container, hoped *inject.State) (inject.Adjustment, inject.State) {
	if wants, _ := inject.WantsCPUSet(s.Container, m.cfg.Inject); wants {
		m.placing.Lock()
		defer m.placing.Unlock()
		c.CPUSet, hoped.CPUSet, hoped.CPUSetBlocked = m.choose(s, c)
	}
	adj, st := m.plan(s, c, *hoped), *hoped
	st.ViewAnswers = m.create(c, &st)
	return adj, st
}

// create writes the entry and the size page of a new container, each alone if
// they cannot be written together. It reports whether the entry is there, and
// notes a page that is not.
func (m *Manager) create(c *registry.Container, st *inject.State) bool {
	if m.cfg.Registry.Create(c, m.cfg.PossibleCPUs) == nil {
		return true
	}
	if m.put(c) != nil {
		st.SizePage = ""
		return false
	}
	if m.keepPage(c) != nil {
		st.SizePage = ""
	}
	return true
}

// viewAnswers asks the view for a new container's files.
func (m *Manager) viewAnswers(ctx context.Context, id string, paths []string) bool {
	err := m.cfg.View.Check(ctx, id, paths)
	if err != nil {
		m.fail("view", "the view does not answer for a new container, which is left without it", err, "container", id)
	}
	return err == nil
}

// keepPage makes the size page of a container with a shim say what its entry
// says. Programs that run see it at once.
func (m *Manager) keepPage(c *registry.Container) error {
	if c.Shim == "" {
		return nil
	}
	err := m.cfg.Registry.KeepSizePage(c, m.cfg.PossibleCPUs)
	if err != nil {
		m.fail("size-page", "cannot write a container's size page", err, "container", c.ID)
	}
	return err
}

// plan decides the injection and notes it in the entry.
func (m *Manager) plan(s Spec, c *registry.Container, st inject.State) inject.Adjustment {
	adj := inject.Plan(s.Container, c.Decision.Size, m.cfg.Inject, st)
	c.Skipped, c.Mounts, c.Shim = string(adj.Skip), adj.Views, adj.Shim
	c.Env, c.Notes = nil, nil
	if adj.Skip != "" {
		c.CPUSet = ""
	}
	for _, e := range adj.Env {
		c.Env = append(c.Env, e.Name)
	}
	for _, o := range adj.Omissions {
		c.Notes = append(c.Notes, o.String())
	}
	c.Notes = append(c.Notes, adj.Warnings...)
	return adj
}

// Abandon notes that a container was created without its adjustment, because
// Create took too long.
func (m *Manager) Abandon(id string) {
	defer m.hold(id)()
	c, err := m.cfg.Registry.Get(id)
	if err != nil {
		return // it was never registered
	}
	c.Skipped = string(inject.SkipFailed)
	c.Mounts, c.Shim, c.Env, c.CPUSet = nil, "", nil, ""
	_ = m.put(c)
	m.await(c)
}

// hold keeps others from changing a container's entry until release is called:
// this manager's other calls, and the processes that attach and detach views.
func (m *Manager) hold(id string) (release func()) {
	done := m.holds.take(id)
	unlock := m.cfg.Registry.Lock(id)
	return func() {
		unlock()
		done()
	}
}

// Remove forgets a container.
func (m *Manager) Remove(id string) error {
	defer m.holds.take(id)()
	m.awaited.remove(id)
	if c, err := m.cfg.Registry.Get(id); err == nil && c.CPUSet != "" {
		defer m.unbalance()
	}
	err := m.cfg.Registry.Remove(id)
	if err != nil {
		m.fail("remove", "cannot forget a container", err, "container", id)
	}
	return err
}

func (m *Manager) shimPresent() bool {
	return m.cfg.ShimPresent != nil && m.cfg.ShimPresent()
}

// put writes an entry; a failure is counted and logged.
func (m *Manager) put(c *registry.Container) error {
	err := m.cfg.Registry.Put(c)
	if err != nil {
		m.fail("register", "cannot write a container's entry", err, "container", c.ID)
	}
	return err
}

// fail counts and logs an error that was worked around.
func (m *Manager) fail(op, msg string, err error, args ...any) {
	m.cfg.Observer.Error(op)
	level := slog.LevelError
	if errors.Is(err, context.Canceled) {
		level = slog.LevelInfo
	}
	m.cfg.Log.Log(context.Background(), level, msg, append(args, "error", err)...)
}
