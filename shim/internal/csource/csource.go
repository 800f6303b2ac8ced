//go:build cgo && (amd64 || arm64)

package csource

/*
#cgo CFLAGS: -std=c11 -Wall -Wextra -Werror
#include <stdlib.h>
#include "mask.h"
#include "parse.h"
#include "rules.h"
*/
import "C"

import "unsafe"

// NumCPUs returns the count that NUM_CPUS=value asks for, 0 for none.
// A value with a NUL ends there, as in an environment.
func NumCPUs(value string) int {
	s := C.CString(value)
	defer C.free(unsafe.Pointer(s))
	return int(C.parse_num_cpus(s))
}

// Number parses a cgroup's file of one number; ok tells whether it is one.
func Number(text []byte) (n uint64, ok bool) {
	v := uint64(C.parse_number((*C.char)(unsafe.Pointer(unsafe.SliceData(text))), C.size_t(len(text))))
	return v, v != C.UNKNOWN
}

// Loads parses /proc/loadavg.
func Loads(text []byte) (loads [3]float64, ok bool) {
	found := C.parse_loadavg((*C.char)(unsafe.Pointer(unsafe.SliceData(text))), C.size_t(len(text)), (*C.double)(&loads[0]))
	return loads, bool(found)
}

// KeepCPUs leaves n of a mask's CPUs, those from position first on.
func KeepCPUs(mask []uint64, n int, first uint32) {
	C.mask_keep(words(mask), C.size_t(len(mask)), C.int(n), C.uint32_t(first))
}

// ExtendCPUs fills a mask up to n CPUs, lowest first.
func ExtendCPUs(mask []uint64, n int) {
	C.mask_extend(words(mask), C.size_t(len(mask)), C.int(n))
}

// AnyBelow tells whether a mask has a CPU below n.
func AnyBelow(mask []uint64, n int) bool {
	return bool(C.mask_below(words(mask), C.size_t(len(mask)), C.int(n)))
}

// CountCPUs returns how many CPUs a mask has.
func CountCPUs(mask []uint64) int {
	return int(C.mask_count(words(mask), C.size_t(len(mask))))
}

func words(mask []uint64) *C.mask_word {
	return (*C.mask_word)(unsafe.Pointer(unsafe.SliceData(mask)))
}

// Decide returns the number of CPUs that a process reports whose container has
// this size page (nil for none) and whose NUM_CPUS is env; 0 is the real one.
func Decide(page []byte, env string) int {
	var p *C.struct_size_page
	if ValidPage(page) {
		p = (*C.struct_size_page)(unsafe.Pointer(unsafe.SliceData(page)))
	}
	return int(C.decide_cpus(p, C.int(NumCPUs(env))))
}

// ValidPage tells whether the shim reads a size page of this content.
func ValidPage(page []byte) bool {
	return len(page) >= int(C.SIZE_PAGE_BYTES) &&
		bool(C.valid_page((*C.struct_size_page)(unsafe.Pointer(unsafe.SliceData(page)))))
}
