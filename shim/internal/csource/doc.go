// Package csource calls the shim's C source from Go, by cgo: what can be
// tested and fuzzed of it without a process to preload it into. Without cgo
// it is empty. Of Truesize's programs only `truesize` has it, for `truesize
// explain`; package shim/answer is how.
//
// The C files are links to the source itself: the go command looks for changes
// in a package's own directory only.
package csource
