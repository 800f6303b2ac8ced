// Package procview renders the files of /proc as a container of its size sees
// them. docs/fields.md says, field by field, where each value comes from.
//
// It is pure: from the bytes of the host's file, a size and the readings of a
// cgroup to bytes. One file here is one file of /proc. A file that changes has
// a constant length (package layout), which its Size method tells; its Append
// method appends one snapshot to dst and allocates nothing if dst has room.
// The types are immutable after they are made and may be shared.
//
// Formats: proc(5), and fs/proc of the kernel, named at each renderer.
package procview

import "errors"

// ErrFormat says that a file of the host does not read as this package knows
// it. Show the host's file then.
var ErrFormat = errors.New("unexpected content of the host's file")

// userHZ is the clock tick of /proc, per second, on every Linux architecture
// that Truesize supports (asm-generic/param.h).
const userHZ = 100

// Widths of the columns that a layout reserves. A counter that
// outgrows its column stays at the largest number that fits.
const (
	// tickDigits holds 31 years of one CPU's clock ticks.
	tickDigits = 11
	// totalDigits holds the ticks of 1,000 CPUs in as long.
	totalDigits = 14
	// countDigits holds any count of things.
	countDigits = 20
)
