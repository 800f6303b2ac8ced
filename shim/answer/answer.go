// Package answer tells what the shim answers in a container: it calls the
// shim's own C source, by cgo, with what the container has.
//
// A program built without cgo has [Known] false, and nothing to tell.
package answer

// An Answer is what the shim makes of a size page and of NUM_CPUS.
type Answer struct {
	// CPUs is the number of CPUs it reports; 0 is the libc's own answer.
	CPUs int `json:"cpus"`
	// PageUsed says that the size page is one that the shim can read.
	PageUsed bool `json:"pageUsed"`
	// NumCPUs is what NUM_CPUS asks for; 0 is no number of CPUs.
	NumCPUs int `json:"numCPUs"`
}
