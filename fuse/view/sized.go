package view

import (
	"slices"
	"weak"

	"github.com/truesize/truesize/fuse/procview"
	"github.com/truesize/truesize/fuse/sysview"
	"github.com/truesize/truesize/pkg/size"
)

// sized is what depends on a container's size alone: its files' layouts, and
// the files that do not change otherwise. A renderer is nil when the host's
// file does not read as it should: then that file is shown as it is.
type sized struct {
	size      size.Size
	meminfo   *procview.Meminfo
	stat      *procview.Stat
	swaps     *procview.Swaps
	cpuinfo   *[]byte // shared with others of the size
	cpuOnline []byte
	hugePage  uint64 // bytes; 0: the host has none
}

// newSized makes the renderers. errs are by file, nil where all is well.
func newSized(h *host, s size.Size) (z *sized, errs [numFiles]error) {
	z = &sized{size: s, swaps: procview.NewSwaps(s), cpuOnline: sysview.CPUOnline(nil, s.CPUs)}
	var data []byte
	if data, errs[meminfo] = h.read(nil, meminfo); errs[meminfo] == nil {
		z.meminfo, errs[meminfo] = procview.NewMeminfo(data, s)
		z.hugePage = hugePages(data)
	}
	if data, errs[stat] = h.read(data[:0], stat); errs[stat] == nil {
		z.stat, errs[stat] = procview.NewStat(data, s.CPUs)
	}
	z.cpuinfo, errs[cpuinfo] = h.cpuinfoOf(s.CPUs)
	return z, errs
}

// cpuinfoOf returns /proc/cpuinfo of n CPUs. It is the same for all containers
// of so many CPUs, and shared by them: it may be a megabyte. It goes with the last
// of them, as a container may choose n.
func (h *host) cpuinfoOf(n int) (*[]byte, error) {
	h.sharedMu.Lock()
	defer h.sharedMu.Unlock()
	if shared := h.shared[n].Value(); shared != nil {
		return shared, nil
	}
	data, err := h.read(nil, cpuinfo)
	if err != nil {
		return nil, err
	}
	out, err := procview.CPUInfo(nil, data, n)
	if err != nil {
		return nil, err
	}
	out = slices.Clone(out) // at its exact size
	h.shared[n] = weak.Make(&out)
	return &out, nil
}

// length is the constant size of a file in bytes, 0 when it has none.
func (z *sized) length(file int, node *nodeLayouts) int {
	switch file {
	case meminfo:
		if z.meminfo != nil {
			return z.meminfo.Size()
		}
	case stat:
		if z.stat != nil {
			return z.stat.Size()
		}
	case swaps:
		return z.swaps.Size()
	case loadavg:
		return node.loadavg.Size()
	case uptime:
		return node.uptime.Size()
	case diskstats:
		if d := node.diskstats.Load(); d != nil {
			return d.Size()
		}
	}
	return 0
}

// fit makes the host's file as long as the container's: spaces before its last
// newline. ok is false when it is longer.
func fit(data []byte, length int) (out []byte, ok bool) {
	switch {
	case length == 0 || len(data) == length:
		return data, len(data) > 0
	case len(data) > length || len(data) == 0:
		return data, false
	}
	if data[len(data)-1] == '\n' {
		data = data[:len(data)-1]
	}
	for len(data) < length-1 {
		data = append(data, ' ')
	}
	return append(data, '\n'), true
}
