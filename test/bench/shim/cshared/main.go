// Command cshared, built with -buildmode=c-shared, is the shim as it would be
// in Go: the peer to measure the C object against.
package main

import "C"

import (
	"os"
	"strconv"
)

//export JVM_ActiveProcessorCount
func JVM_ActiveProcessorCount() C.int {
	n, _ := strconv.Atoi(os.Getenv("NUM_CPUS"))
	return C.int(n)
}

func main() {}
