package procview

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/truesize/truesize/fuse/layout"
	"github.com/truesize/truesize/pkg/cgroup"
)

// A Disk is a block device of the host.
type Disk struct {
	Major, Minor uint32
	Name         string
}

// maxDisks bounds the devices shown, at about 130 bytes each.
const maxDisks = 1024

// ParseDiskstats reads the devices of the host's /proc/diskstats, in its order
// (block/genhd.c). Lines it cannot read are left out.
func ParseDiskstats(host []byte) []Disk {
	var disks []Disk
	for len(host) > 0 && len(disks) < maxDisks {
		var line []byte
		line, host = cutLine(host)
		f := bytes.Fields(line)
		if len(f) < 4 || len(f[2]) > 64 {
			continue
		}
		major, ok1 := parseUint(f[0])
		minor, ok2 := parseUint(f[1])
		if ok1 && ok2 && major < 1<<32 && minor < 1<<32 {
			disks = append(disks, Disk{uint32(major), uint32(minor), string(f[2])})
		}
	}
	return disks
}

// Diskstats is /proc/diskstats of a container: the host's devices with the I/O
// of the container. When the host's devices change, so does the file's size:
// make another one and invalidate the file, as for a change of size.
type Diskstats struct {
	disks  []Disk
	labels []string
	layout *layout.Layout
}

const (
	ioDigits     = 13 // of operations
	sectorDigits = 15 // of sectors: 2^58 bytes
	sector       = 512
)

// NewDiskstats returns the renderer for the devices.
func NewDiskstats(disks []Disk) (*Diskstats, error) {
	d := &Diskstats{disks: slices.Clone(disks)}
	var widths []int
	for _, k := range disks {
		label := fmt.Sprintf("%4d %7d %s", k.Major, k.Minor, k.Name)
		d.labels = append(d.labels, label)
		widths = append(widths, len(label)+3*(1+ioDigits)+3*(1+sectorDigits)+11*len(" 0")+1)
	}
	l, err := layout.New(widths)
	if err != nil {
		return nil, fmt.Errorf("diskstats: %w: %w", ErrFormat, err)
	}
	d.layout = l
	return d, nil
}

// Same reports whether the devices are those that d shows.
func (d *Diskstats) Same(disks []Disk) bool { return slices.Equal(d.disks, disks) }

// Size returns the file's constant size in bytes; 0 without devices.
func (d *Diskstats) Size() int { return d.layout.Size() }

// Append appends one snapshot of the cgroup's I/O.
func (d *Diskstats) Append(dst []byte, io []cgroup.Device) []byte {
	w := d.layout.Write(dst)
	for i, label := range d.labels {
		dev := find(io, d.disks[i])
		w.String(label)
		writeIO(&w, dev.ReadIOs, dev.ReadBytes)
		writeIO(&w, dev.WriteIOs, dev.WriteBytes)
		w.String(" 0 0 0") // in flight, busy and weighted ms: not per cgroup
		writeIO(&w, dev.DiscardIOs, dev.DiscardBytes)
		w.String(" 0 0") // flushes: not per cgroup
		w.End()
	}
	return w.Done()
}

func find(io []cgroup.Device, k Disk) cgroup.Device {
	for _, dev := range io {
		if dev.Major == k.Major && dev.Minor == k.Minor {
			return dev
		}
	}
	return cgroup.Device{}
}

// writeIO writes operations, merged ones, sectors and ms; a cgroup counts the
// first and the third.
func writeIO(w *layout.Writer, ios, bytes uint64) {
	w.String(" ")
	w.Uint(ios, ioDigits)
	w.String(" 0 ")
	w.Uint(bytes/sector, sectorDigits)
	w.String(" 0")
}
