// Package runtimes asks real programs of many languages, in containers of a
// real containerd, how large their machine is. docs/runtimes.md explains the
// answers.
package runtimes
