package procview

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// host reads a file of a real kernel.
func host(t testing.TB, kernel, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/host", kernel, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// golden compares with testdata/golden/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata/golden", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", path, got)
	}
}

// sized checks what every file that changes must hold.
func sized(t *testing.T, got []byte, size int) {
	t.Helper()
	if len(got) != size {
		t.Errorf("%d bytes, Size says %d", len(got), size)
	}
	if len(got) == 0 || got[len(got)-1] != '\n' {
		t.Errorf("no newline at the end: %q", got)
	}
	if bytes.IndexByte(got, 0) >= 0 {
		t.Errorf("a NUL byte: %q", got)
	}
	for at := 4096; at < len(got); at += 4096 {
		if got[at-1] != '\n' {
			t.Errorf("a line crosses the page's end at %d", at)
		}
	}
}
