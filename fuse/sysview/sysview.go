// Package sysview renders the files of /sys as a container of its size sees
// them. It is pure, and imports the standard library only.
//
// Formats: Documentation/admin-guide/cputopology.rst of the kernel.
package sysview

import "strconv"

// CPUOnline appends /sys/devices/system/cpu/online of n CPUs, at least 1, in
// the kernel's list format: "0-3\n", or "0\n" for one. It does not change
// while n stays, so it has no padding.
func CPUOnline(dst []byte, n int) []byte {
	dst = append(dst, '0')
	if n > 1 {
		dst = append(dst, '-')
		dst = strconv.AppendInt(dst, int64(n-1), 10)
	}
	return append(dst, '\n')
}
