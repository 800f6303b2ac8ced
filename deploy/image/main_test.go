package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// static builds a static program of this architecture.
func static(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	source, out := filepath.Join(dir, "main.go"), filepath.Join(dir, name)
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	return out
}

// untar returns a tar's files by name, in nil those that are directories.
func untar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name] = data; h.Typeflag == tar.TypeDir {
			files[h.Name] = nil
		}
	}
}

// The archive holds what its index says, blob by blob, and is the same each
// time, whatever the order and times of the programs.
func TestImage(t *testing.T) {
	one, two := static(t, "one"), static(t, "two")
	out := filepath.Join(t.TempDir(), "image.tar")
	build := func(programs ...string) []byte {
		t.Helper()
		var stdout bytes.Buffer
		args := append([]string{"-version", "v1.2.3+dirty", "-arch", runtime.GOARCH, "-o", out}, programs...)
		if err := run(args, &stdout); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(stdout.String(), "localhost/truesize:v1.2.3_dirty") {
			t.Errorf("it says %q", stdout.String())
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	archive := build(one, two)
	if !bytes.Equal(archive, build(two, one)) {
		t.Error("two builds differ")
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 1 {
		t.Errorf("beside the archive: %v, %v", left, err)
	}
	files := untar(t, bytes.NewReader(archive))
	for name, data := range files {
		sum := sha256.Sum256(data)
		if digest, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && digest != hex.EncodeToString(sum[:]) {
			t.Errorf("%s has another digest", name)
		}
	}
	type reference struct {
		Digest      string
		Annotations map[string]string
	}
	blob := func(r reference, v any) []byte {
		t.Helper()
		data := files["blobs/sha256/"+strings.TrimPrefix(r.Digest, "sha256:")]
		if v != nil {
			if err := json.Unmarshal(data, v); err != nil {
				t.Fatalf("%+v: %v", r, err)
			}
		}
		return data
	}
	var index struct{ Manifests []reference }
	if err := json.Unmarshal(files["index.json"], &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("index: %+v, %v", index, err)
	}
	if name := index.Manifests[0].Annotations["io.containerd.image.name"]; name != "localhost/truesize:v1.2.3_dirty" {
		t.Errorf("the image's name is %q", name)
	}
	var manifest struct {
		Config reference
		Layers []reference
	}
	blob(index.Manifests[0], &manifest)
	var config struct {
		Architecture string
		Config       struct{ Entrypoint []string }
		RootFS       struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	blob(manifest.Config, &config)
	if config.Architecture != runtime.GOARCH || !slices.Equal(config.Config.Entrypoint, []string{"truesized"}) {
		t.Errorf("config: %+v", config)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(blob(manifest.Layers[0], nil)))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if want := []string{"sha256:" + hex.EncodeToString(sum[:])}; !slices.Equal(config.RootFS.DiffIDs, want) {
		t.Errorf("digests of layers %v, want %v", config.RootFS.DiffIDs, want)
	}
	program, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	layer := untar(t, bytes.NewReader(content))
	if !bytes.Equal(layer["usr/local/bin/one"], program) || layer["usr/local/bin/two"] == nil {
		t.Error("the layer has not the programs")
	}
}

func TestRefused(t *testing.T) {
	program := static(t, "program")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n# which is no program of the image\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(t.TempDir(), "shared")
	if msg, err := exec.Command("gcc", "-x", "c", "-o", shared, "../../test/bench/shim/testdata/calls.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	dir := t.TempDir()
	for _, tt := range []struct{ version, arch, program, want string }{
		{"v1", runtime.GOARCH, text, "bad magic number"},
		{"v1", runtime.GOARCH, shared, "not static"},
		{"v1", other, program, "build it with GOARCH=" + other},
		{"v1", "mips", program, "want amd64 or arm64"},
		{"", runtime.GOARCH, program, "makes no tag"},
		{"-rc", runtime.GOARCH, program, "makes no tag"},
		{strings.Repeat("v", 129), runtime.GOARCH, program, "makes no tag"},
		{"v1", runtime.GOARCH, filepath.Join(dir, "none"), "no such file"},
	} {
		err := run([]string{"-version", tt.version, "-arch", tt.arch, "-o", filepath.Join(dir, "image.tar"), tt.program}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	if err := run([]string{"-version", "v1", "-arch", runtime.GOARCH, "-o", filepath.Join(dir, "image.tar")}, io.Discard); err == nil {
		t.Error("an image of nothing")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
