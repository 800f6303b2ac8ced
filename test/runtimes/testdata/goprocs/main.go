// Command goprocs prints what a Go program sees of its CPUs.
package main

import (
	"fmt"
	"runtime"
)

func main() {
	fmt.Printf("NumCPU=%d\nGOMAXPROCS=%d\n", runtime.NumCPU(), runtime.GOMAXPROCS(0))
}
