package file

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if _, err := Read(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("read of nothing: %v", err)
	}
	if err := Set(path, "1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Set must not make a file: %v", err)
	}
	// Around the size of the first buffer, where reading grows it.
	for _, size := range []int{100000, 4096, 2049, 2048, 2047, 1, 0} {
		want := bytes.Repeat([]byte{'x'}, size)
		if err := Write(path, want, 0o600, size == 1); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes written, %d read, %v", size, len(got), err)
		}
		got, err = ReadAtMost(path, 2047, 0)
		if err != nil || len(got) != min(size, 2047) {
			t.Errorf("%d bytes of %d read with a limit of 2047, %v", len(got), size, err)
		}
	}
}

// TestFullDisk: an error on the way to the disk is the caller's.
func TestFullDisk(t *testing.T) {
	if err := Set("/dev/full", "1"); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

// TestNamedPipe: what is no file does not hang the program.
func TestNamedPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
}
