package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/truesize/truesize/deploy/image/oci"
)

// smallRecipe describes the images of buildSmall.
var smallRecipe = recipe{
	Version: 1,
	From:    debianRecipe.key(),
	Applets: strings.Fields("sh cat ls sleep echo env head tail grep ps id nproc wc free uptime " +
		"top touch mkdir rm true false sed awk date yes dd seq hostname stat df kill readlink mount umount test"),
}

// buildSmall makes the busybox and pause images. busybox is taken from the
// Debian image: no package of it need be on the node, where Debian's two
// variants exclude each other.
func buildSmall(ctx context.Context, debianArchive, dst string) error {
	work, err := os.MkdirTemp("", "truesize-image-")
	if err != nil {
		return fmt.Errorf("create work directory: %w", err)
	}
	defer os.RemoveAll(work)
	busybox, err := readFromImage(debianArchive, "usr/bin/busybox")
	if err != nil {
		return err
	}
	pause, err := buildPause(ctx, work)
	if err != nil {
		return err
	}
	layer, err := oci.NewLayer(work, func(tw *tar.Writer) error { return fillSmall(tw, busybox, pause) })
	if err != nil {
		return err
	}
	defer layer.Close()
	return oci.Replace(dst, func(w io.Writer) error {
		a, err := oci.NewArchive(w)
		if err != nil {
			return err
		}
		return errors.Join(
			a.Add(described(Pause, "/pause"), layer),
			a.Add(described(Small, "/bin/sh"), layer),
			a.Close(),
		)
	})
}

// described returns an image of this machine's architecture.
func described(reference, entrypoint string) oci.Image {
	return oci.Image{Reference: reference, Architecture: runtime.GOARCH, Entrypoint: []string{entrypoint}}
}

func fillSmall(tw *tar.Writer, busybox, pause []byte) error {
	for _, dir := range strings.Fields("bin dev etc proc root sys tmp") {
		mode := int64(0o755)
		if dir == "tmp" {
			mode = 0o1777
		}
		if err := oci.WriteDir(tw, dir, mode); err != nil {
			return err
		}
	}
	err := errors.Join(
		oci.WriteFile(tw, "pause", 0o755, pause),
		oci.WriteFile(tw, "bin/busybox", 0o755, busybox),
		oci.WriteFile(tw, "etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n")),
	)
	for _, applet := range smallRecipe.Applets {
		h := &tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777, ModTime: oci.Epoch()}
		err = errors.Join(err, tw.WriteHeader(h))
	}
	return err
}

// buildPause compiles the sandbox's program.
func buildPause(ctx context.Context, work string) ([]byte, error) {
	out := filepath.Join(work, "pause")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out,
		"github.com/truesize/truesize/test/image/pause")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build pause: %w\n%s", err, msg)
	}
	return os.ReadFile(out)
}

// readFromImage returns the file at name (no leading slash) in the layer of
// an archive that this package wrote: its first blob.
func readFromImage(archivePath, name string) ([]byte, error) {
	f, err := os.Open(archivePath)
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	defer f.Close()
	outer := tar.NewReader(f)
	for {
		h, err := outer.Next()
		if err != nil {
			return nil, fmt.Errorf("read image %s: no layer: %w", archivePath, err)
		}
		if strings.HasPrefix(h.Name, "blobs/") {
			break
		}
	}
	inner := tar.NewReader(outer)
	for {
		h, err := inner.Next()
		if err != nil {
			return nil, fmt.Errorf("read image %s: no file %s: %w", archivePath, name, err)
		}
		if h.Name == name && h.Typeflag == tar.TypeReg {
			return io.ReadAll(inner)
		}
	}
}
