// Command cgo prints what a Go program that is linked with a libc sees: by
// Go's runtime, and by the libc.
package main

// #include <unistd.h>
import "C"

import (
	"fmt"
	"runtime"
)

func main() {
	fmt.Printf("NumCPU=%d\nGOMAXPROCS=%d\nsysconf=%d\n", runtime.NumCPU(), runtime.GOMAXPROCS(0), C.sysconf(C._SC_NPROCESSORS_ONLN))
}
