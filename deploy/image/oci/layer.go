package oci

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A Layer is a layer in a file of its own, which has no name: its digest and
// size must be known before it is copied into an archive.
type Layer struct {
	file      *os.File
	mediaType string
	content   string // digest of the tar
	digest    string // digest of the file
	size      int64  // bytes of the file
}

// NewLayer makes a layer, in a file in dir, from what fill writes.
func NewLayer(dir string, fill func(*tar.Writer) error) (*Layer, error) {
	return newLayer(dir, "application/vnd.oci.image.layer.v1.tar", fill, func(w io.Writer) io.WriteCloser { return open{w} })
}

// NewCompressedLayer is [NewLayer] with gzip: for images that registries are
// to keep and nodes to fetch. The bytes are the same for one version of Go.
func NewCompressedLayer(dir string, fill func(*tar.Writer) error) (*Layer, error) {
	return newLayer(dir, "application/vnd.oci.image.layer.v1.tar+gzip", fill, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

// open is a writer that stays open.
type open struct{ io.Writer }

func (open) Close() error { return nil }

func newLayer(dir, mediaType string, fill func(*tar.Writer) error, packer func(io.Writer) io.WriteCloser) (_ *Layer, err error) {
	f, err := os.CreateTemp(dir, "layer")
	if err != nil {
		return nil, fmt.Errorf("create layer: %w", err)
	}
	defer func() {
		err = errors.Join(err, os.Remove(f.Name()))
		if err != nil {
			f.Close()
		}
	}()
	content, file := sha256.New(), sha256.New()
	pack := packer(io.MultiWriter(f, file))
	tw := tar.NewWriter(io.MultiWriter(pack, content))
	if err := fill(tw); err != nil {
		return nil, err
	}
	if err := errors.Join(tw.Close(), pack.Close()); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, fmt.Errorf("size of layer: %w", err)
	}
	return &Layer{
		file: f, mediaType: mediaType, size: size,
		content: digestString(content.Sum(nil)), digest: digestString(file.Sum(nil)),
	}, nil
}

// Close ends the use of the layer.
func (l *Layer) Close() error { return l.file.Close() }

// WriteFile adds a regular file to a layer. Its name has no leading slash.
func WriteFile(tw *tar.Writer, name string, mode int64, data []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: Epoch()}
	if err := tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := tw.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// WriteDir adds a directory to a layer. Those above it are the caller's.
func WriteDir(tw *tar.Writer, name string, mode int64) error {
	h := &tar.Header{Typeflag: tar.TypeDir, Name: strings.Trim(name, "/") + "/", Mode: mode, ModTime: Epoch()}
	if err := tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// Replace writes the file at dst through a temporary one beside it: an
// interrupted build leaves no archive.
func Replace(dst string, fill func(io.Writer) error) (err error) {
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
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", dst, err)
	}
	return os.Rename(f.Name(), dst)
}
