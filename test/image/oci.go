package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// epoch is the time of every file in an image, so that equal recipes and
// packages give equal bytes.
var epoch = time.Unix(1700000000, 0)

// A descriptor is OCI's reference to a blob by digest.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// An archive writes an OCI image archive (oci-layout, blobs, index.json).
type archive struct {
	tw    *tar.Writer
	blobs map[string]bool
	index []descriptor
}

// newArchive starts an archive on w.
func newArchive(w io.Writer) (*archive, error) {
	a := &archive{tw: tar.NewWriter(w), blobs: map[string]bool{}}
	return a, a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

// A layer is an uncompressed layer in a file of its own: its digest and size
// must be known before it is copied into the archive.
type layer struct {
	file   *os.File
	digest string
	size   int64
}

// addImage adds an image of one layer under the reference ref.
func (a *archive) addImage(ref string, l layer, entrypoint []string) error {
	type object = map[string]any
	if err := a.layerBlob(l); err != nil {
		return err
	}
	config, err := a.blob("application/vnd.oci.image.config.v1+json", object{
		"architecture": runtime.GOARCH, "os": "linux", "created": epoch.UTC(),
		"config": object{
			"Entrypoint": entrypoint,
			"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		},
		"rootfs": object{"type": "layers", "diff_ids": []string{l.digest}},
	})
	if err != nil {
		return err
	}
	manifest, err := a.blob("application/vnd.oci.image.manifest.v1+json", object{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        config,
		"layers": []descriptor{{
			MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: l.digest, Size: l.size,
		}},
	})
	if err != nil {
		return err
	}
	manifest.Annotations = map[string]string{"io.containerd.image.name": ref}
	a.index = append(a.index, manifest)
	return nil
}

// close writes the index and ends the archive.
func (a *archive) close() error {
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.index.v1+json",
		"manifests":     a.index,
	})
	if err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	if err := a.file("index.json", index); err != nil {
		return err
	}
	return a.tw.Close()
}

// blob adds v as JSON and returns its descriptor.
func (a *archive) blob(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	sum := sha256.Sum256(data)
	d := descriptor{MediaType: mediaType, Digest: digestString(sum[:]), Size: int64(len(data))}
	return d, a.put(blobName(d.Digest), int64(len(data)), bytes.NewReader(data))
}

func (a *archive) layerBlob(l layer) error {
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind layer: %w", err)
	}
	return a.put(blobName(l.digest), l.size, l.file)
}

func (a *archive) file(name string, data []byte) error {
	return a.put(name, int64(len(data)), bytes.NewReader(data))
}

// put adds a file once: images may share a blob.
func (a *archive) put(name string, size int64, r io.Reader) error {
	if a.blobs[name] {
		return nil
	}
	a.blobs[name] = true
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: epoch}
	if err := a.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := io.Copy(a.tw, r); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// writeLayer makes a layer in a file without a name, in dir, from what fill
// writes.
func writeLayer(dir string, fill func(*tar.Writer) error) (l layer, err error) {
	f, err := os.CreateTemp(dir, "layer")
	if err != nil {
		return layer{}, fmt.Errorf("create layer: %w", err)
	}
	defer func() {
		os.Remove(f.Name())
		if err != nil {
			f.Close()
		}
	}()
	hash := sha256.New()
	tw := tar.NewWriter(io.MultiWriter(f, hash))
	if err := fill(tw); err != nil {
		return layer{}, err
	}
	if err := tw.Close(); err != nil {
		return layer{}, fmt.Errorf("write layer: %w", err)
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return layer{}, fmt.Errorf("size of layer: %w", err)
	}
	return layer{file: f, digest: digestString(hash.Sum(nil)), size: size}, nil
}

// writeFiles adds regular files and the directories above them to a layer.
// Keys are paths without a leading slash.
func writeFile(tw *tar.Writer, name string, mode int64, data []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: epoch}
	if err := tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := tw.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func writeDir(tw *tar.Writer, name string, mode int64) error {
	h := &tar.Header{Typeflag: tar.TypeDir, Name: strings.Trim(name, "/") + "/", Mode: mode, ModTime: epoch}
	if err := tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// replace writes the file at dst through a temporary one beside it: an
// interrupted build leaves no archive.
func replace(dst string, fill func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(dst), ".building-*")
	if err != nil {
		return fmt.Errorf("create %s: %w", dst, err)
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", dst, err)
	}
	return os.Rename(f.Name(), dst)
}

func digestString(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

func blobName(digest string) string {
	return path.Join("blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}
