// Package oci writes OCI image archives (oci-layout, index.json, blobs) of
// one-layer images, as containerd's and other tools' import commands take
// them. The same content gives the same bytes: files have one time, and their
// order is the caller's.
//
// It follows the OCI image specification 1.1, uses the standard library only,
// and imports nothing of Truesize.
package oci

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// Epoch is the time of every file in an image, and of the image.
func Epoch() time.Time { return time.Unix(1700000000, 0) }

// An Image is what an archive tells of an image besides its layer.
type Image struct {
	Reference    string // the name under which it is imported, with a tag
	Architecture string // as GOARCH
	Entrypoint   []string
	Labels       map[string]string
}

// A descriptor is OCI's reference to a blob by digest.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

// A platform is what an image runs on.
type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// An Archive is being written. Images may share a layer, which it has once.
type Archive struct {
	tw    *tar.Writer
	names map[string]bool
	index []descriptor
}

// NewArchive starts an archive on w.
func NewArchive(w io.Writer) (*Archive, error) {
	a := &Archive{tw: tar.NewWriter(w), names: make(map[string]bool)}
	return a, a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

// Add adds an image of one layer.
func (a *Archive) Add(image Image, l *Layer) error {
	type object = map[string]any
	if err := a.layer(l); err != nil {
		return err
	}
	settings := object{
		"Entrypoint": image.Entrypoint,
		"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	if len(image.Labels) > 0 {
		settings["Labels"] = image.Labels
	}
	config, err := a.blob("application/vnd.oci.image.config.v1+json", object{
		"architecture": image.Architecture, "os": "linux", "created": Epoch().UTC(),
		"config": settings,
		"rootfs": object{"type": "layers", "diff_ids": []string{l.content}},
	})
	if err != nil {
		return err
	}
	manifest, err := a.blob("application/vnd.oci.image.manifest.v1+json", object{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        config,
		"layers":        []descriptor{{MediaType: l.mediaType, Digest: l.digest, Size: l.size}},
	})
	if err != nil {
		return err
	}
	_, tag, _ := strings.Cut(path.Base(image.Reference), ":")
	manifest.Platform = &platform{Architecture: image.Architecture, OS: "linux"}
	manifest.Annotations = map[string]string{
		"io.containerd.image.name":          image.Reference,
		"org.opencontainers.image.ref.name": tag,
	}
	a.index = append(a.index, manifest)
	return nil
}

// Close writes the index and ends the archive.
func (a *Archive) Close() error {
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
	if err := a.tw.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// blob adds v as JSON and returns its descriptor.
func (a *Archive) blob(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	sum := sha256.Sum256(data)
	d := descriptor{MediaType: mediaType, Digest: digestString(sum[:]), Size: int64(len(data))}
	return d, a.file(blobName(d.Digest), data)
}

func (a *Archive) layer(l *Layer) error {
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind layer: %w", err)
	}
	return a.put(blobName(l.digest), l.size, l.file)
}

func (a *Archive) file(name string, data []byte) error {
	return a.put(name, int64(len(data)), bytes.NewReader(data))
}

// put adds a file once: images may share a blob.
func (a *Archive) put(name string, size int64, r io.Reader) error {
	if a.names[name] {
		return nil
	}
	a.names[name] = true
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: Epoch()}
	if err := a.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := io.Copy(a.tw, r); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func digestString(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

func blobName(digest string) string {
	return path.Join("blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}
