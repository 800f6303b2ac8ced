package cgroup

import (
	"errors"
	"fmt"
	"math/bits"
)

// cpuFiles are the files of a cgroup's CPU time.
type cpuFiles struct {
	v2 bool
	// stat is cpu.stat: on v2 everything, on v1 throttling alone.
	stat file
	// local is cpu.stat.local: throttling by ancestors as well.
	local file
	// usage and split are v1's cpuacct.usage and cpuacct.stat.
	usage, split file
}

func (f *cpuFiles) files() []*file { return []*file{&f.stat, &f.local, &f.usage, &f.split} }

func (f *cpuFiles) read(buf *[]byte) (CPU, error) {
	var c CPU
	data, err := f.stat.read(buf)
	switch {
	case err == nil:
		err = wrap(&f.stat, parseCPUStat(data, &c))
	case !f.v2 && errors.Is(err, ErrNoController):
		err = nil // a kernel without CFS bandwidth
	}
	if err != nil {
		return CPU{}, err
	}
	if f.local.exists() {
		data, err := f.local.read(buf)
		if err == nil {
			err = wrap(&f.local, parseCPUStatLocal(data, &c))
		}
		if err != nil {
			return CPU{}, err
		}
	}
	if f.v2 {
		return c, nil
	}
	return c, f.readV1(buf, &c)
}

func (f *cpuFiles) readV1(buf *[]byte, c *CPU) error {
	data, err := f.usage.read(buf)
	if err != nil {
		return err
	}
	total, err := parseValue(data) // ns
	if err != nil {
		return wrap(&f.usage, err)
	}
	data, err = f.split.read(buf)
	if err != nil {
		return err
	}
	user, system, err := parseCPUAcctStat(data)
	if err != nil {
		return wrap(&f.split, err)
	}
	c.User, c.System = splitTime(total/1000, user, system)
	return nil
}

// wrap names the file in an error of its parser.
func wrap(f *file, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("parse %s: %w", f.path, err)
}

// splitTime divides total as user to system.
func splitTime(total, user, system uint64) (u, s uint64) {
	sum, carry := bits.Add64(user, system, 0)
	if sum == 0 || carry != 0 {
		return total, 0
	}
	hi, lo := bits.Mul64(total, system)
	s, _ = bits.Div64(hi, lo, sum) // system <= sum, so the quotient fits
	return total - s, s
}

// parseCPUStat reads cpu.stat of either version. Lines it does not know are
// passed over: kernels add some.
func parseCPUStat(data []byte, c *CPU) error {
	for len(data) > 0 {
		var line []byte
		line, data = cutLine(data)
		key, value := cutField(line)
		n, ok := parseUint(value)
		if !ok {
			return fmt.Errorf("%w: line %.64q", errFormat, line)
		}
		switch string(key) {
		case "user_usec":
			c.User = n
		case "system_usec":
			c.System = n
		case "nice_usec":
			c.Nice = n
		case "nr_periods":
			c.NrPeriods = n
		case "nr_throttled":
			c.NrThrottled = n
		case "throttled_usec":
			c.Throttled = n
		case "throttled_time": // v1, ns
			c.Throttled = n / 1000
		}
	}
	return nil
}

// parseCPUStatLocal reads cpu.stat.local. Its throttling holds the ancestors'
// too, but starts later than that of cpu.stat on a group with no queued task:
// the larger of the two is taken, and both only grow.
func parseCPUStatLocal(data []byte, c *CPU) error {
	var local CPU
	err := parseCPUStat(data, &local)
	c.Throttled = max(c.Throttled, local.Throttled)
	return err
}

// parseCPUAcctStat reads v1's cpuacct.stat, in clock ticks.
func parseCPUAcctStat(data []byte) (user, system uint64, err error) {
	for len(data) > 0 {
		var line []byte
		line, data = cutLine(data)
		key, value := cutField(line)
		n, ok := parseUint(value)
		if !ok {
			return 0, 0, fmt.Errorf("%w: line %.64q", errFormat, line)
		}
		switch string(key) {
		case "user":
			user = n
		case "system":
			system = n
		}
	}
	return user, system, nil
}
