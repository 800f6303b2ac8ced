// Package image makes the container images of the development stack, from
// Debian packages and Go programs alone, without a registry or a daemon.
//
// An image is one layer in an OCI archive. It is kept in a cache directory
// under the digest of its recipe, so it is built once per recipe.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The references under which the images are imported.
const (
	Debian = "localhost/truesize/debian:dev"  // procps, Node.js, a JRE, Python
	Small  = "localhost/truesize/busybox:dev" // a static busybox
	Pause  = "localhost/truesize/pause:dev"   // the pod sandbox

	Runtimes = "localhost/truesize/runtimes:dev" // the languages of test/runtimes
	Newer    = "localhost/truesize/newer:dev"    // later versions of some of them
)

// A Set is the images' archives on disk.
type Set struct {
	Debian string // path of the OCI archive of [Debian]
	Small  string // path of the OCI archive of [Small] and [Pause]
}

// Ensure returns the images in cacheDir, building those whose recipe is not
// there. It needs root, mmdebstrap and a Debian mirror to build, and calls
// progress with a line for each step.
func Ensure(ctx context.Context, cacheDir string, progress func(string)) (Set, error) {
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return Set{}, fmt.Errorf("create image cache: %w", err)
	}
	unlock, err := lock(filepath.Join(cacheDir, "lock"))
	if err != nil {
		return Set{}, err
	}
	defer unlock()
	set := Set{
		Debian: filepath.Join(cacheDir, "debian-"+debianRecipe.key()+".tar"),
		Small:  filepath.Join(cacheDir, "small-"+smallRecipe.key()+".tar"),
	}
	if !exists(set.Debian) {
		if err := buildDebian(ctx, debianRecipe, Debian, set.Debian, progress); err != nil {
			return Set{}, fmt.Errorf("build Debian image: %w", err)
		}
	}
	if !exists(set.Small) {
		progress("building the busybox and pause images")
		if err := buildSmall(ctx, set.Debian, set.Small); err != nil {
			return Set{}, fmt.Errorf("build small image: %w", err)
		}
	}
	return set, errors.Join(prune(cacheDir, "debian-*.tar", set.Debian), prune(cacheDir, "small-*.tar", set.Small))
}

// EnsureRuntimes returns the archives of [Runtimes] and [Newer] in cacheDir. It
// builds those whose recipe is not there: see [Ensure].
func EnsureRuntimes(ctx context.Context, cacheDir string, progress func(string)) (paths []string, err error) {
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return nil, fmt.Errorf("create image cache: %w", err)
	}
	unlock, err := lock(filepath.Join(cacheDir, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, i := range []struct {
		name, ref string
		recipe    recipe
	}{{"runtimes", Runtimes, runtimesRecipe}, {"newer", Newer, newerRecipe}} {
		path := filepath.Join(cacheDir, i.name+"-"+i.recipe.key()+".tar")
		if !exists(path) {
			if err := buildDebian(ctx, i.recipe, i.ref, path, progress); err != nil {
				return nil, fmt.Errorf("build image %s: %w", i.name, err)
			}
		}
		if err := prune(cacheDir, i.name+"-*.tar", path); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// key is what a recipe's archive is cached under: it changes with anything
// that changes the image.
func (r recipe) key() string {
	data, err := json.Marshal(r)
	if err != nil {
		panic(err) // a recipe is strings and slices of them
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6])
}

// lock takes the cache for this process, waiting for one that is building.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock image cache: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock image cache %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// prune removes the archives of earlier recipes.
func prune(dir, pattern, keep string) error {
	old, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return fmt.Errorf("prune image cache: %w", err)
	}
	var errs []error
	for _, path := range old {
		if path != keep {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
