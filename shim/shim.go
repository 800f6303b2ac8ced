// Package shim holds libtruesize.so, the object preloaded into a container's
// programs, for every architecture, as bytes.
//
// The object is written in C (shim/src) and built by `make shim` into
// shim/objects, which is embedded here. It imports no other package of
// Truesize.
package shim

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
)

// objects is the built objects beside a README that keeps the directory there
// on a fresh clone.
//
//go:embed objects
var objects embed.FS

var (
	// ErrArch says that there is no shim for an architecture: its containers
	// run without one.
	ErrArch = errors.New("no shim for this architecture: amd64 and arm64 have one")
	// ErrNotBuilt says that this program was built before its shim was.
	ErrNotBuilt = errors.New("shim is not in this program: run `make shim` and build it again")
)

// Object returns libtruesize.so for goarch ("amd64" or "arm64"). The caller
// owns the bytes. The error wraps [ErrArch] or [ErrNotBuilt].
func Object(goarch string) ([]byte, error) {
	if goarch != "amd64" && goarch != "arm64" {
		return nil, fmt.Errorf("%w: %.32q", ErrArch, goarch)
	}
	object, err := objects.ReadFile("objects/libtruesize-" + goarch + ".so")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s %w", goarch, ErrNotBuilt)
	}
	return object, err
}

// Hash names an object: the first 12 hexadecimal digits of its SHA-256. The
// object's path holds it, so an upgrade never changes a file that a process
// has mapped.
func Hash(object []byte) string {
	sum := sha256.Sum256(object)
	return hex.EncodeToString(sum[:6])
}
