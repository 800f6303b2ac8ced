package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/truesize/truesize/test/image"
)

// An archive is what a release's packages are fetched from by apt: the node's
// own sources, or the same mirrors' suites of another release, with lists and a
// cache of their own and the node's other settings.
type archive struct {
	dir     string // where packages are unpacked
	release string // of Debian; "" is the node's own
	options []string
}

// openArchive makes what apt needs for a release in dir.
func openArchive(ctx context.Context, dir, release string) (*archive, error) {
	// As root, apt would fetch as a user that may not write there.
	a := &archive{dir: dir, release: release, options: []string{"-qq", "-o", "APT::Sandbox::User=root"}}
	if release == "" {
		return a, nil
	}
	sources, err := image.Sources(ctx, release)
	if err != nil {
		return nil, err
	}
	state := filepath.Join(dir, "apt")
	list := filepath.Join(state, "sources.list")
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, fmt.Errorf("create apt's directory: %w", err)
	}
	if err := os.WriteFile(list, []byte(sources), 0o644); err != nil {
		return nil, err
	}
	for _, o := range [][2]string{
		{"Dir::State", state}, {"Dir::State::status", os.DevNull}, {"Dir::Cache", filepath.Join(state, "cache")},
		{"Dir::Etc::SourceList", list}, {"Dir::Etc::SourceParts", os.DevNull},
		{"Dir::Etc::Preferences", os.DevNull}, {"Dir::Etc::PreferencesParts", os.DevNull},
	} {
		a.options = append(a.options, "-o", o[0]+"="+o[1])
	}
	return a, nil
}

var dependsLine = regexp.MustCompile(`(?m)^\s*Depends: (linux-image-[a-z0-9.+-]+)$`)

// newest returns the name of the package with the kernel.
func (a *archive) newest(ctx context.Context) (string, error) {
	out, err := a.apt(ctx, "", "apt-cache", "depends", kernelPackage)
	if m := dependsLine.FindStringSubmatch(out); m != nil {
		return m[1], nil
	}
	if a.release == "" {
		return "", errors.Join(fmt.Errorf("look for a kernel: the package lists have no %s; run apt-get update", kernelPackage), err)
	}
	return "", errors.Join(fmt.Errorf("look for a kernel: the mirrors in %s/apt/sources.list do not serve Debian's %s with %s; "+
		"they are the node's own: add a source to the node's apt that serves the main of %s, and run apt-get update",
		a.dir, a.release, kernelPackage, a.release), err)
}

func (a *archive) update(ctx context.Context) error {
	_, err := a.apt(ctx, a.dir, "apt-get", "update")
	return err
}

// download puts the unpacked package at dir/name, all at once.
func (a *archive) download(ctx context.Context, name string) error {
	work, err := os.MkdirTemp(a.dir, ".fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if _, err := a.apt(ctx, work, "apt-get", "download", name); err != nil {
		// The lists may name a version that the mirror no longer has.
		updated := a.update(ctx)
		if _, err := a.apt(ctx, work, "apt-get", "download", name); err != nil {
			return errors.Join(err, updated)
		}
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages: %w", name, len(debs), err)
	}
	root := filepath.Join(work, "root")
	if _, err := command(ctx, work, "dpkg-deb", "--extract", debs[0], root); err != nil {
		return err
	}
	// Without the image it is what an earlier version of this program left.
	if err := os.RemoveAll(filepath.Join(a.dir, name)); err != nil {
		return err
	}
	return os.Rename(root, filepath.Join(a.dir, name))
}

// apt runs a program of apt's in the directory work.
func (a *archive) apt(ctx context.Context, work, program string, args ...string) (string, error) {
	return command(ctx, work, append(append([]string{program}, a.options...), args...)...)
}

// command runs a command in dir and returns its standard output.
func command(ctx context.Context, dir string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), err
}
