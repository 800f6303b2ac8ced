package size

import "fmt"

// memory decides the memory in bytes.
func (d *Decision) memory(in Input) (uint64, Source) {
	rules := d.annotationRules(in, AnnotationMemoryContainer, AnnotationMemory, parseMemory)
	rules = append(rules, memoryLimitRule(in), rule{
		source: FromHost, value: in.Host.Memory, text: FormatBytes(in.Host.Memory),
		note: fmt.Sprintf("the node has %s", FormatBytes(in.Host.Memory)),
	})
	return d.choose("memory", rules)
}

// parseMemory reads an annotation's memory, in bytes.
func parseMemory(s string) (uint64, string, error) {
	q, err := parseQuantity(s)
	if err != nil {
		return 0, "", fmt.Errorf(`%w; write a size such as "512Mi" or "4Gi"`, err)
	}
	n, ok := ceil(q)
	if !ok || n < MinMemory || n > MaxMemory {
		return 0, "", fmt.Errorf("write a size from %s to %s, such as \"512Mi\" (a plain number is in bytes)",
			FormatBytes(MinMemory), FormatBytes(MaxMemory))
	}
	return n, FormatBytes(n), nil
}

// memoryLimitRule is min(limit, host). A limit at or above the host's memory
// limits nothing, so the host is what gave the size.
func memoryLimitRule(in Input) rule {
	r := rule{source: FromLimit}
	switch limit := in.Limits.Memory; {
	case limit == 0:
		r.note = "the cgroup has no memory limit"
	case in.Host.Memory > 0 && limit >= in.Host.Memory:
		r.note = fmt.Sprintf("the memory limit of %s is not below the node's memory", FormatBytes(limit))
	default:
		r.value, r.text = limit, FormatBytes(limit)
		r.note = fmt.Sprintf("the memory limit is %s", FormatBytes(limit))
	}
	return r
}

// swap decides the swap in bytes: what the container may really use, and
// never more than the host has.
func (d *Decision) swap(in Input) uint64 {
	step := Step{Resource: "swap", Rule: FromHost, Used: true}
	var value uint64
	switch l := in.Limits; {
	case in.Host.Swap == 0:
		step.Note = "the node has no swap"
	case !l.SwapAccounting:
		step.Note = "the kernel does not account swap per cgroup, so none is shown"
	case l.HasSwap && l.Swap < in.Host.Swap:
		value, step.Rule = l.Swap, FromLimit
		step.Note = fmt.Sprintf("the swap limit is %s", FormatBytes(value))
	default:
		value = in.Host.Swap
		step.Note = "no swap limit below the node's swap"
	}
	step.Value = FormatBytes(value)
	d.Steps = append(d.Steps, step)
	return value
}
