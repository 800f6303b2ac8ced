package size

import (
	"fmt"
	"strconv"
)

// cpus decides the number of CPUs.
func (d *Decision) cpus(in Input) (int, Source) {
	host := uint64(max(1, in.Host.CPUs))
	bound := max(MaxCPUs, host)

	rules := d.annotationRules(in, AnnotationCPUsContainer, AnnotationCPUs,
		func(s string) (uint64, string, error) { return parseCPUs(s, bound) })
	rules = append(rules, d.envRule(in, bound), limitRule(in, host), requestRule(in, host))
	rules = append(rules, cpusetRule(in, host), rule{
		source: FromHost, value: host, text: strconv.FormatUint(host, 10),
		note: fmt.Sprintf("the node has %s", countCPUs(host)),
	})
	value, source := d.choose("cpu", rules)
	return int(value), source
}

// parseCPUs reads a CPU count as an annotation gives it, rounded up.
func parseCPUs(s string, bound uint64) (uint64, string, error) {
	q, err := parseQuantity(s)
	if err != nil {
		return 0, "", fmt.Errorf(`%w; write a CPU count such as "2" or "1500m"`, err)
	}
	n, ok := ceil(q)
	if !ok || n < 1 || n > bound {
		return 0, "", fmt.Errorf("write a CPU count from 1 to %d", bound)
	}
	return n, strconv.FormatUint(n, 10), nil
}

// envRule is NUM_CPUS of the container's own spec: a whole number, because
// every program that reads the variable reads it as one.
func (d *Decision) envRule(in Input, bound uint64) rule {
	r := rule{source: FromEnv}
	if in.NumCPUs == nil {
		r.note = "the container's spec does not set NUM_CPUS"
		return r
	}
	n, err := strconv.ParseUint(*in.NumCPUs, 10, 32)
	if err != nil || n < 1 || n > bound {
		r.note = "NUM_CPUS of the container's spec cannot be used"
		d.warn("NUM_CPUS=%.64q: write a whole number from 1 to %d, or leave the variable out", *in.NumCPUs, bound)
		return r
	}
	r.value, r.text = n, strconv.FormatUint(n, 10)
	r.note = fmt.Sprintf("the container's spec sets NUM_CPUS=%d", n)
	return r
}

// limitRule is min(ceil(limit), cpuset, host). Rounded up, as the JDK and
// lxcfs do: with 1.5 CPUs two threads make progress at once.
func limitRule(in Input, host uint64) rule {
	r := rule{source: FromLimit}
	milli := in.Limits.CPUMilli
	if milli <= 0 {
		r.note = "the cgroup has no CPU limit"
		return r
	}
	n := uint64(milli / milliPerCPU)
	if milli%milliPerCPU > 0 {
		n++
	}
	r.note = fmt.Sprintf("the CPU limit is %s", formatMilli(milli))
	r.value = capped(n, in, host, &r.note)
	r.text = strconv.FormatUint(r.value, 10)
	return r
}

// requestRule is the CPU request, for admins who set no limits.
func requestRule(in Input, host uint64) rule {
	r := rule{source: FromRequest}
	switch {
	case !in.FromRequests:
		r.note = "size.fromRequests is off in the configuration"
		return r
	case in.CPUShares <= sharesOfNoRequest:
		r.note = "the container requests no CPU"
		return r
	}
	n := in.CPUShares / sharesPerCPU
	if in.CPUShares%sharesPerCPU > 0 {
		n++
	}
	r.note = fmt.Sprintf("the container requests %d shares, %d per CPU", in.CPUShares, sharesPerCPU)
	r.value = capped(n, in, host, &r.note)
	r.text = strconv.FormatUint(r.value, 10)
	return r
}

// cpusetRule speaks only of a cpuset that is smaller than the host.
func cpusetRule(in Input, host uint64) rule {
	r := rule{source: FromCPUSet}
	switch n := uint64(max(0, in.Limits.CPUSet)); {
	case n == 0:
		r.note = "the cgroup's cpuset is not known"
	case n >= host:
		r.note = "the cgroup's cpuset holds every CPU of the node"
	default:
		r.value, r.text = n, strconv.FormatUint(n, 10)
		r.note = fmt.Sprintf("the cgroup's cpuset holds %s of the node's %d", countCPUs(n), host)
	}
	return r
}

// capped returns n within the cpuset and the host, and notes what cut it.
func capped(n uint64, in Input, host uint64, note *string) uint64 {
	if set := uint64(max(0, in.Limits.CPUSet)); set > 0 && set < n && set <= host {
		*note += fmt.Sprintf(", cut to the %d of its cpuset", set)
		return set
	}
	if host < n {
		*note += fmt.Sprintf(", cut to the %d of the node", host)
		return host
	}
	return n
}

func countCPUs(n uint64) string {
	if n == 1 {
		return "1 CPU"
	}
	return fmt.Sprintf("%d CPUs", n)
}

// formatMilli writes thousandths of a CPU: "1.5 CPUs".
func formatMilli(milli int64) string {
	return strconv.FormatFloat(float64(milli)/milliPerCPU, 'f', -1, 64) + " CPUs"
}
