package inject

import (
	"path"
	"slices"
	"strings"
)

const (
	// NumCPUsVar tells programs, and the shim, the number of CPUs.
	NumCPUsVar = "NUM_CPUS"

	preloadVar = "LD_PRELOAD"
	// shimRoot is on the container's own tmpfs: its image and its writable
	// layer stay as they are, and no mount point has to be made there.
	shimRoot = "/dev/truesize"
	shimName = "libtruesize.so"
)

// ShimTarget returns where the shim of that version (the first 12 hex digits
// of its SHA-256) is in a container. The path is versioned because the
// dynamic loader maps the object: replacing it in place would kill processes.
func ShimTarget(version string) string { return path.Join(shimRoot, version, shimName) }

// Getenv returns the value of a variable in env, the last one where it is set
// more than once, and whether it is set.
func Getenv(env []string, name string) (value string, set bool) {
	for _, e := range env {
		if n, v, ok := strings.Cut(e, "="); ok && n == name {
			value, set = v, true
		}
	}
	return value, set
}

// preload returns an LD_PRELOAD that loads what old loads, and then target.
// ld.so(8) separates by spaces or colons; the first definition of a symbol
// wins, so what the user preloads keeps precedence. Shims of other versions
// in it, copied from another container, do not exist in this one and go.
func preload(old, target string) string {
	list := strings.FieldsFunc(old, func(r rune) bool { return r == ':' || r == ' ' })
	kept := slices.DeleteFunc(slices.Clone(list), func(s string) bool {
		return s != target && path.Base(s) == shimName && within(path.Clean(s), shimRoot)
	})
	if slices.Contains(kept, target) {
		if len(kept) == len(list) {
			return old
		}
		return strings.Join(kept, ":")
	}
	return strings.Join(append(kept, target), ":")
}
