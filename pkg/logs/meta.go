package logs

import (
	"github.com/truesize/truesize/pkg/logs/source"
)

// Annotations of a pod that say how its logs are treated.
const (
	AnnotationLogs      = "truesize.dev/logs"          // "false": not read at all
	AnnotationTopic     = "truesize.dev/log-topic"     // the topic, where the configuration allows it
	AnnotationFormat    = "truesize.dev/log-format"    // the name of a configured format
	AnnotationMultiline = "truesize.dev/log-multiline" // a rule, as in Config.Multiline
)

// A Ref names a container as far as its log directory does.
type Ref = source.Ref

// Meta is what the runtime knows of a container beside its log files.
type Meta struct {
	ID          string            `json:"id,omitempty"` // the runtime's id
	Image       string            `json:"image,omitempty"`
	PodIP       string            `json:"podIP,omitempty"`
	App         string            `json:"app,omitempty"` // empty: found from labels
	Namespace   string            `json:"namespace,omitempty"`
	Pod         string            `json:"pod,omitempty"`
	UID         string            `json:"uid,omitempty"`
	Container   string            `json:"container,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`      // of the pod
	Annotations map[string]string `json:"annotations,omitempty"` // of the pod
}

// Metadata tells what the runtime knows of containers. The agent implements it
// with the events it gets from the runtime.
type Metadata interface {
	// Container returns what is known of a container. It must not block. When
	// nothing is known yet the reader waits a second for it, then goes on with
	// what the path says.
	Container(Ref) (Meta, bool)
}
