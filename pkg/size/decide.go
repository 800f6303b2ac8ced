package size

import "fmt"

// Annotation keys of a pod. Those that end in a slash take a container's name
// after it and win over the pod-wide ones.
const (
	AnnotationCPUs            = "truesize.dev/cpus"
	AnnotationMemory          = "truesize.dev/memory"
	AnnotationCPUsContainer   = "cpus.truesize.dev/"
	AnnotationMemoryContainer = "memory.truesize.dev/"
)

const (
	sharesPerCPU      = 1024
	sharesOfNoRequest = 2 // what the kubelet writes for "no CPU request"
	milliPerCPU       = 1000
)

const (
	// MaxCPUs is the largest CPU count an annotation or NUM_CPUS may ask for
	// (on a larger host, the host's count is): the 1024 of glibc's cpu_set_t,
	// which a program built with it cannot see beyond.
	MaxCPUs = 1024
	// MinMemory is the smallest memory an annotation may ask for, in bytes:
	// no program starts in less.
	MinMemory = 4 << 20
	// MaxMemory is the largest memory an annotation may ask for, in bytes:
	// what x86-64 can address physically.
	MaxMemory = 1 << 52
)

// Decide sizes a container by the rules of docs/sizing.md. It never fails: an
// input that cannot be used becomes a warning, and the next rule decides.
//
// in.Host must be filled in. Of a host with no CPUs the size has 1; of one
// with no memory, and with no other rule to go by, the size's Memory is 0,
// which is no size: show the host's files then.
func Decide(in Input) Decision {
	var d Decision
	d.Size.CPUs, d.CPUSource = d.cpus(in)
	d.Size.Memory, d.MemorySource = d.memory(in)
	d.Size.Swap = d.swap(in)
	return d
}

// A rule is what one rule says about a resource: a step to be, and its value.
type rule struct {
	source Source
	value  uint64 // 0: the rule says nothing
	text   string // value as the step shows it
	note   string
}

// choose takes the first rule that says something and writes all of them down
// as steps.
func (d *Decision) choose(resource string, rules []rule) (uint64, Source) {
	var (
		value  uint64
		source Source
	)
	for _, r := range rules {
		step := Step{Resource: resource, Rule: r.source, Note: r.note}
		if r.value > 0 {
			step.Value = r.text
			if source == "" {
				value, source, step.Used = r.value, r.source, true
			} else {
				step.Note += fmt.Sprintf("; passed over: %s comes first", source)
			}
		}
		d.Steps = append(d.Steps, step)
	}
	return value, source
}

func (d *Decision) warn(format string, args ...any) {
	d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...))
}

// annotationRules are the two annotation keys of a resource, the container's
// before the pod's. parse returns the value, its text, and otherwise what is
// wrong with it and what to write instead.
func (d *Decision) annotationRules(in Input, perContainer, perPod string,
	parse func(string) (value uint64, text string, err error)) []rule {
	var rules []rule
	for _, key := range []string{perContainer + in.Container, perPod} {
		r := rule{source: FromAnnotation}
		raw, ok := in.Annotations[key]
		if !ok {
			r.note = fmt.Sprintf("the pod has no annotation %s", key)
			rules = append(rules, r)
			continue
		}
		value, text, err := parse(raw)
		if err != nil {
			r.note = fmt.Sprintf("annotation %s cannot be used", key)
			d.warn("annotation %s: %.64q: %v", key, raw, err)
		} else {
			r.value, r.text = value, text
			r.note = fmt.Sprintf("annotation %s is %q", key, raw)
		}
		rules = append(rules, r)
	}
	return rules
}
