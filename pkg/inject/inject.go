// Package inject decides what is added to a container that is being created
// so that it sees its own size: mounts of the view, the preloaded shim,
// variables.
//
// It is pure: [Plan] turns a container, its size, the admin's configuration
// and the state of the node's parts into an [Adjustment], and the adapters of
// the container runtimes translate that. It does no I/O and imports pkg/size
// only. The rules are those of docs/injection.md; the names and semantics of
// mounts follow the OCI runtime specification (config.md, Mounts).
package inject

import (
	"path"
	"strconv"

	"github.com/truesize/truesize/pkg/size"
)

// A Container is what a runtime tells of a container it is about to create.
// All of it but the ids comes from whoever wrote the pod: it is compared,
// never used as a path.
type Container struct {
	ID        string // the runtime's id of the container
	SandboxID string // the runtime's id of its pod
	Name      string // within the pod
	Pod       string
	PodUID    string
	Namespace string
	// Labels and Annotations are the pod's.
	Labels      map[string]string
	Annotations map[string]string
	// Env is the environment of its spec, "NAME=value".
	Env []string
	// Mounts are those of its spec.
	Mounts []Mount
	// Privileged says that the container runs with the host's rights.
	Privileged bool
	// HostPID says that it runs in the host's pid namespace.
	HostPID bool
}

// A Mount is one of an OCI runtime specification.
type Mount struct {
	Source      string
	Destination string
	Type        string
	Options     []string
}

// An EnvVar is an environment variable to set.
type EnvVar struct {
	Name, Value string
	// Replaces says that the container's spec has the variable already.
	Replaces bool
}

// A Config is what the admin wants injected, and from where.
type Config struct {
	Namespaces Namespaces
	// Selector reports whether a pod with these labels is to be injected;
	// nil is every pod.
	Selector func(labels map[string]string) bool
	// View, Shim and NumCPUs switch the mounts of the view, the preloaded
	// shim and the variable NUM_CPUS.
	View, Shim, NumCPUs bool
	// Env switches the other variables on, by the names of [Variables].
	Env map[string]bool
	// CPUSet gives every injected container a CPU set of its size, unless its
	// pod declines.
	CPUSet bool
	// ViewDir is the view's root on the host; a container's files are below
	// ViewDir/<id>.
	ViewDir string
	// Files are the files to mount: those of [Files] that the host has.
	Files []File
	// ShimSource is the shim's object on the host, ShimTarget its path in a
	// container.
	ShimSource, ShimTarget string
	// PageTarget is the path of the size page in a container, at which the
	// shim looks for it.
	PageTarget string
}

// A State is the condition of the node's parts at the moment of a creation. A
// part that is not well is left out, so that a container never fails or
// hangs because of it.
type State struct {
	ViewAnswers bool // the view's server serves this container's files
	ShimPresent bool // the object is at Config.ShimSource
	// SizePage is the container's size page on the host, empty without one:
	// the runtime refuses a mount whose source does not exist.
	SizePage string
	// CPUSet is the CPUs chosen for a container that wants a set, in the
	// kernel's list format, empty where it may use all of them.
	CPUSet string
	// CPUSetBlocked is why none was chosen.
	CPUSetBlocked Reason
}

// An Adjustment is what to add to a container.
type Adjustment struct {
	// Skip is why the container is left alone, empty when it is not. With it
	// nothing else is set but Warnings.
	Skip Skip
	// Mounts are to be appended to the container's.
	Mounts []Mount
	// Env are the variables that change, and only those.
	Env []EnvVar
	// Views are the paths in the container over which a view is mounted.
	Views []string
	// Shim is the path of the preloaded shim in the container, empty without.
	Shim string
	// CPUSet is the CPU set to give it, in the kernel's list format, empty for
	// none.
	CPUSet string
	// Omissions are what the configuration asks for and was left out.
	Omissions []Omission
	// Warnings are sentences for the admin on inputs that could not be used.
	Warnings []string
}

// Plan returns what to add to container c of size s.
func Plan(c Container, s size.Size, cfg Config, st State) Adjustment {
	var a Adjustment
	a.Skip, a.Warnings = eligible(c, cfg)
	if a.Skip == "" && (s.CPUs < 1 || s.Memory == 0) {
		a.Skip = SkipFailed // the node's own size could not be read, either
	}
	if a.Skip != "" {
		return a
	}
	planView(&a, c, cfg, st)
	planShim(&a, c, cfg, st)
	if cfg.NumCPUs {
		planNumCPUs(&a, c, s)
	}
	planVariables(&a, c, s, cfg.Env)
	planCPUSet(&a, c, cfg, st)
	return a
}

// planView adds the mounts of the view. They have no options: a bind mount has
// those of its source, the view is mounted ro,nosuid,nodev,noexec, and to ask
// for them costs the runtime a second mount of each file.
func planView(a *Adjustment, c Container, cfg Config, st State) {
	if !cfg.View {
		return
	}
	if !st.ViewAnswers {
		a.omit("view", ViewSilent)
		return
	}
	for _, f := range cfg.Files {
		if why := f.blocked(c.Mounts); why != "" {
			a.omit(f.Path, why)
			continue
		}
		a.Views = append(a.Views, f.Path)
		a.Mounts = append(a.Mounts, Mount{
			Source:      path.Join(cfg.ViewDir, c.ID, f.Path),
			Destination: f.Path,
			Type:        "bind",
			Options:     []string{"bind"},
		})
	}
}

// planShim adds the shim's mount and the variable that loads it. The two go
// together: a variable without its file makes glibc complain in every process.
func planShim(a *Adjustment, c Container, cfg Config, st State) {
	switch {
	case !cfg.Shim:
		return
	case !st.ShimPresent:
		a.omit("shim", ShimMissing)
		return
	}
	if why := onDev(cfg.ShimTarget).blocked(c.Mounts); why != "" {
		a.omit("shim", why)
		return
	}
	a.Shim = cfg.ShimTarget
	a.Mounts = append(a.Mounts, Mount{
		Source:      cfg.ShimSource,
		Destination: cfg.ShimTarget,
		Type:        "bind",
		Options:     []string{"bind", "ro", "nosuid", "nodev"},
	})
	planPage(a, c, cfg, st)
	old, set := Getenv(c.Env, preloadVar)
	if value := preload(old, cfg.ShimTarget); value != old {
		a.Env = append(a.Env, EnvVar{Name: preloadVar, Value: value, Replaces: set})
	}
}

// planPage adds the mount of the size page. Without it the shim answers by
// NUM_CPUS, and does not follow a resize.
func planPage(a *Adjustment, c Container, cfg Config, st State) {
	why := onDev(cfg.PageTarget).blocked(c.Mounts)
	if st.SizePage == "" {
		why = PageMissing
	}
	if why != "" {
		a.omit("size page", why)
		return
	}
	a.Mounts = append(a.Mounts, Mount{
		Source:      st.SizePage,
		Destination: cfg.PageTarget,
		Type:        "bind",
		Options:     []string{"bind", "ro", "nosuid", "nodev", "noexec"},
	})
}

// planNumCPUs adds NUM_CPUS. A value of the container's own stays: it is an
// input of the size.
func planNumCPUs(a *Adjustment, c Container, s size.Size) {
	if _, set := Getenv(c.Env, NumCPUsVar); set {
		return
	}
	a.Env = append(a.Env, EnvVar{Name: NumCPUsVar, Value: strconv.Itoa(s.CPUs)})
}

// planCPUSet adds the CPU set.
func planCPUSet(a *Adjustment, c Container, cfg Config, st State) {
	wants, warnings := WantsCPUSet(c, cfg)
	a.Warnings = append(a.Warnings, warnings...)
	switch {
	case !wants:
	case st.CPUSetBlocked != "":
		a.omit("CPU set", st.CPUSetBlocked)
	default:
		a.CPUSet = st.CPUSet
	}
}

// omit notes that what was left out.
func (a *Adjustment) omit(what string, why Reason) {
	a.Omissions = append(a.Omissions, Omission{What: what, Why: why})
}

// Recognize returns what a container that exists has of an injection, by the
// mounts in its spec: the files that the view answers, and its shim.
func Recognize(c Container, cfg Config) (views []string, shim string) {
	for _, m := range c.Mounts {
		dest := path.Clean(m.Destination)
		switch {
		case m.Source == path.Join(cfg.ViewDir, c.ID, dest):
			views = append(views, dest)
		case path.Base(dest) == shimName && within(dest, shimRoot):
			shim = dest
		}
	}
	return views, shim
}
