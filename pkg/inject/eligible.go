package inject

import (
	"fmt"
	"slices"
)

// Annotation is the pod annotation by which its author opts out: "false"
// leaves the pod's containers alone.
const Annotation = "truesize.dev/inject"

// AnnotationCPUSet is the pod annotation that asks for real CPU sets ("true"),
// or declines them ("false"), whatever the configuration says.
const AnnotationCPUSet = "truesize.dev/cpuset"

// WantsCPUSet reports whether c is to have a CPU set of its size, if it is
// injected, and a warning on an annotation that says nothing.
func WantsCPUSet(c Container, cfg Config) (wants bool, warnings []string) {
	switch v, set := c.Annotations[AnnotationCPUSet]; {
	case v == "true":
		return true, nil
	case v == "false":
		return false, nil
	case set:
		warnings = []string{fmt.Sprintf(`annotation %s: %.64q is neither "true" nor "false": ignored`, AnnotationCPUSet, v)}
	}
	return cfg.CPUSet, warnings
}

// Namespaces are the Kubernetes namespaces whose pods are injected.
type Namespaces struct {
	// Include are the only ones, or all when it is empty.
	Include []string
	// Exclude are left alone. It wins over Include.
	Exclude []string
}

// has reports whether pods of namespace are injected.
func (n Namespaces) has(namespace string) bool {
	if slices.Contains(n.Exclude, namespace) {
		return false
	}
	return len(n.Include) == 0 || slices.Contains(n.Include, namespace)
}

// A Skip is why a container is left alone.
type Skip string

const (
	SkipPrivileged Skip = "privileged"
	SkipHostPID    Skip = "host-pid"
	SkipNamespace  Skip = "namespace"
	SkipSelector   Skip = "selector"
	SkipAnnotation Skip = "annotation"
	// SkipFailed says that there is no size, or that nobody could say in time.
	SkipFailed Skip = "failed"
	// SkipEarlier is not of Plan's making: it is of a container that was not
	// seen being created.
	SkipEarlier Skip = "created-earlier"
	// SkipDetached is not of Plan's making either: an admin took the view off.
	SkipDetached Skip = "detached"
)

// Skips returns every reason there is, for metrics that begin at zero.
func Skips() []Skip {
	return []Skip{SkipPrivileged, SkipHostPID, SkipNamespace, SkipSelector, SkipAnnotation, SkipEarlier, SkipFailed, SkipDetached}
}

// recreate ends the reasons that change without the container.
const recreate = "; after a change, recreate its pod"

// Explain returns the reason as a sentence that tells an admin what to do
// about it.
func (s Skip) Explain() string {
	switch s {
	case SkipPrivileged:
		return "it is privileged: such containers manage the node and see it as it is"
	case SkipHostPID:
		return "it runs in the host's pid namespace (hostPID) and sees the node as it is"
	case SkipNamespace:
		return "its namespace was not injected when it was created: see inject.namespaces in the agent's configuration" + recreate
	case SkipSelector:
		return "its pod's labels did not match when it was created: see inject.selector in the agent's configuration" + recreate
	case SkipAnnotation:
		return "its pod had opted out when it was created: annotation " + Annotation + `: "false"` + recreate
	case SkipDetached:
		return "its view was taken off by an admin: `truesize attach` gives it back"
	case SkipEarlier:
		return "it was created while the agent was not registered with the runtime: recreate its pod to size it"
	case SkipFailed:
		return "the agent could not decide in time or failed: its log says why; recreate the pod to try again"
	}
	return string(s)
}

// eligible returns why c is left alone, empty when it is injected, and a
// warning on an annotation that says nothing.
func eligible(c Container, cfg Config) (skip Skip, warnings []string) {
	optOut := false
	switch v, set := c.Annotations[Annotation]; {
	case v == "false":
		optOut = true
	case set && v != "true":
		warnings = []string{fmt.Sprintf(`annotation %s: %.64q is neither "true" nor "false": ignored`, Annotation, v)}
	}
	switch {
	case c.Privileged:
		return SkipPrivileged, warnings
	case c.HostPID:
		return SkipHostPID, warnings
	case !cfg.Namespaces.has(c.Namespace):
		return SkipNamespace, warnings
	case cfg.Selector != nil && !cfg.Selector(c.Labels):
		return SkipSelector, warnings
	case optOut:
		return SkipAnnotation, warnings
	}
	return "", warnings
}
