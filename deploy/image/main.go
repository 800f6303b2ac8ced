// Image packs the programs of a node into the image of the agent's pod, as an
// OCI archive, without a registry or a container engine. The image holds these
// programs, which are static, and nothing else: no shell, no library.
package main

import (
	"archive/tar"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/truesize/truesize/deploy/image/oci"
)

// Name is the image's name. localhost is no registry: nodes that lack the
// image do not fetch another's in its place.
const Name = "localhost/truesize"

// programDir is where the image has the programs: on its PATH.
const programDir = "usr/local/bin"

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: image -version VERSION -arch GOARCH -o FILE PROGRAM...")
		flags.PrintDefaults()
	}
	version := flags.String("version", "", "the programs' version, which becomes the image's tag")
	arch := flags.String("arch", "", "their architecture, as GOARCH")
	out := flags.String("o", "", "the archive to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	tag, err := tagOf(*version)
	if err != nil {
		return err
	}
	files, err := readPrograms(*arch, flags.Args())
	if err != nil {
		return err
	}
	image := oci.Image{
		Reference: Name + ":" + tag, Architecture: *arch, Entrypoint: []string{"truesized"},
		Labels: map[string]string{
			"org.opencontainers.image.title":   "truesize",
			"org.opencontainers.image.version": *version,
		},
	}
	if err := write(*out, image, files); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "built: %s (%s)\n", *out, image.Reference)
	return err
}

// notInTags is what a version may have and a tag may not (OCI distribution
// specification, "Pulling manifests").
var notInTags = regexp.MustCompile(`[^a-zA-Z0-9_.-]`)

// tagOf returns the tag of a version: v1.2.3+meta is v1.2.3_meta.
func tagOf(version string) (string, error) {
	tag := notInTags.ReplaceAllString(version, "_")
	if tag == "" || len(tag) > 128 || tag[0] == '.' || tag[0] == '-' {
		return "", fmt.Errorf("-version %q: it makes no tag", version)
	}
	return tag, nil
}

// A program is a file of the image.
type program struct {
	name string
	data []byte
}

// readPrograms reads programs, in the order of their names.
func readPrograms(arch string, paths []string) (list []program, err error) {
	if len(paths) == 0 {
		return nil, errors.New("no programs: name them after the flags")
	}
	for _, p := range paths {
		if err := check(p, arch); err != nil {
			return nil, err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		list = append(list, program{filepath.Base(p), data})
	}
	slices.SortFunc(list, func(a, b program) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return list, nil
}

// check refuses a program that could not run in the image.
func check(path, arch string) error {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	want, known := machines[arch]
	if !known {
		return fmt.Errorf("-arch %q: want amd64 or arm64", arch)
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	if f.Machine != want {
		return fmt.Errorf("%s is of %v, not %s: build it with GOARCH=%s", path, f.Machine, arch, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static: the image has no libraries", path)
		}
	}
	return nil
}

// write writes the archive.
func write(out string, image oci.Image, files []program) error {
	layer, err := oci.NewCompressedLayer(filepath.Dir(out), func(tw *tar.Writer) error { return fill(tw, files) })
	if err != nil {
		return err
	}
	defer layer.Close()
	return oci.Replace(out, func(w io.Writer) error {
		a, err := oci.NewArchive(w)
		if err != nil {
			return err
		}
		return errors.Join(a.Add(image, layer), a.Close())
	})
}

// fill writes the layer: the programs, and the directories that a container
// and the agent's mounts want.
func fill(tw *tar.Writer, files []program) error {
	for _, dir := range []string{"dev", "etc", "etc/truesize", "proc", "run", "sys", "usr", "usr/local", programDir, "var", "var/lib"} {
		if err := oci.WriteDir(tw, dir, 0o755); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := oci.WriteFile(tw, path.Join(programDir, f.name), 0o755, f.data); err != nil {
			return err
		}
	}
	return nil
}
