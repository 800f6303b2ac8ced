package cgroup

import (
	"bytes"
	"fmt"
)

// ioFiles are the files of a cgroup's block I/O.
type ioFiles struct {
	v2    bool
	bytes file // v2: io.stat, everything
	count file // v1
}

func (f *ioFiles) files() []*file { return []*file{&f.bytes, &f.count} }

// read appends the devices to dst.
func (f *ioFiles) read(buf *[]byte, dst []Device) ([]Device, error) {
	data, err := f.bytes.read(buf)
	if err != nil {
		return dst, err
	}
	if f.v2 {
		dst, err = parseIOStat(data, dst)
		return dst, wrap(&f.bytes, err)
	}
	base := len(dst)
	if dst, err = parseBlkio(data, dst, base, bytesField); err != nil {
		return dst, wrap(&f.bytes, err)
	}
	if data, err = f.count.read(buf); err != nil {
		return dst, err
	}
	dst, err = parseBlkio(data, dst, base, countField)
	return dst, wrap(&f.count, err)
}

// maxDevices bounds the devices of one cgroup.
const maxDevices = 4096

// parseDevice reads "8:16".
func parseDevice(b []byte) (major, minor uint32, ok bool) {
	a, c, found := bytes.Cut(b, []byte(":"))
	ma, ok1 := parseUint(a)
	mi, ok2 := parseUint(c)
	if !found || !ok1 || !ok2 || ma > 1<<32-1 || mi > 1<<32-1 {
		return 0, 0, false
	}
	return uint32(ma), uint32(mi), true
}

// parseIOStat reads v2's io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4
// dbytes=5 dios=6", with keys of other policies after them. A device without
// I/O may stand there with no keys; Linux 5.15 and 5.16 do not end its line, so
// that the next one follows on the same.
func parseIOStat(data []byte, dst []Device) ([]Device, error) {
	for base := len(dst); len(data) > 0; {
		var line, field []byte
		line, data = cutLine(data)
		before := len(dst)
		for rest := line; len(rest) > 0; {
			field, rest = cutField(rest)
			switch major, minor, isDevice := parseDevice(field); {
			case isDevice && len(dst)-base < maxDevices:
				dst = append(dst, Device{Major: major, Minor: minor})
			case isDevice, len(dst) == before, !dst[len(dst)-1].set(field):
				return dst, fmt.Errorf("%w: line %.64q", errFormat, line)
			}
		}
		if len(dst) == before {
			return dst, fmt.Errorf("%w: an empty line", errFormat)
		}
	}
	return dst, nil
}

// set takes over a field of io.stat, "rbytes=1". It reports whether that is one
// that can be read; those that it does not know are passed over.
func (d *Device) set(field []byte) bool {
	key, value, _ := bytes.Cut(field, []byte("="))
	p := d.field(key)
	if p == nil {
		return true
	}
	n, ok := parseUint(value)
	*p = n
	return ok
}

// field is where a key of io.stat belongs, nil for none.
func (d *Device) field(key []byte) *uint64 {
	switch string(key) {
	case "rbytes":
		return &d.ReadBytes
	case "wbytes":
		return &d.WriteBytes
	case "dbytes":
		return &d.DiscardBytes
	case "rios":
		return &d.ReadIOs
	case "wios":
		return &d.WriteIOs
	case "dios":
		return &d.DiscardIOs
	}
	return nil
}

// bytesField and countField are where an operation of v1's blkio files
// belongs, nil for none ("Sync", "Async" and "Total" count the same again).
func bytesField(d *Device, op []byte) *uint64 {
	switch string(op) {
	case "Read":
		return &d.ReadBytes
	case "Write":
		return &d.WriteBytes
	case "Discard":
		return &d.DiscardBytes
	}
	return nil
}

func countField(d *Device, op []byte) *uint64 {
	switch string(op) {
	case "Read":
		return &d.ReadIOs
	case "Write":
		return &d.WriteIOs
	case "Discard":
		return &d.DiscardIOs
	}
	return nil
}

// parseBlkio reads a v1 blkio file, lines of "8:0 Read 123" and a last
// "Total 123", into the devices dst[base:], which it adds as they come.
func parseBlkio(data []byte, dst []Device, base int, field func(*Device, []byte) *uint64) ([]Device, error) {
	for len(data) > 0 {
		var line []byte
		line, data = cutLine(data)
		name, rest := cutField(line)
		if string(name) == "Total" {
			continue
		}
		op, value := cutField(rest)
		major, minor, ok := parseDevice(name)
		n, isNumber := parseUint(value)
		if !ok || !isNumber {
			return dst, fmt.Errorf("%w: line %.64q", errFormat, line)
		}
		i := base
		for i < len(dst) && (dst[i].Major != major || dst[i].Minor != minor) {
			i++
		}
		if i-base == maxDevices {
			return dst, fmt.Errorf("%w: over %d devices", errFormat, maxDevices)
		}
		if i == len(dst) {
			dst = append(dst, Device{Major: major, Minor: minor})
		}
		if p := field(&dst[i], op); p != nil {
			*p = n
		}
	}
	return dst, nil
}
