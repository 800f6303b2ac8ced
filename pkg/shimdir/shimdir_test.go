package shimdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var object = []byte("\x7fELF and more")

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	path, err := Install(dir, object)
	if err != nil {
		t.Fatal(err)
	}
	if rel, err := filepath.Rel(dir, path); err != nil || !regexp.MustCompile(`^shim/[0-9a-f]{12}/libtruesize\.so$`).MatchString(rel) {
		t.Errorf("path %s", path)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// Installing again keeps the file: processes have it mapped.
	if _, err := Install(dir, object); err != nil {
		t.Fatal(err)
	}
	if again, err := os.Stat(path); err != nil || !os.SameFile(info, again) {
		t.Errorf("it was installed anew: %v", err)
	}
	// Another one lies beside it.
	other, err := Install(dir, append(object, '!'))
	if err != nil || other == path {
		t.Errorf("another one at %s, %v", other, err)
	}
	if err := Verify(dir, object); err != nil {
		t.Error(err)
	}
	if names, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestInstallMends(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"removed":    os.Remove,
		"cut":        func(p string) error { return os.Truncate(p, 3) },
		"emptied":    func(p string) error { return os.Truncate(p, 0) },
		"changed":    func(p string) error { return os.WriteFile(p, []byte("\x7fELF and mork"), 0o755) },
		"unreadable": func(p string) error { return os.Chmod(p, 0o600) },
		"a link": func(p string) error {
			return errors.Join(os.Rename(p, p+".moved"), os.Symlink(p+".moved", p))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, err := Install(dir, object)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			if err := Verify(dir, object); err == nil {
				t.Error("the damage was not seen")
			}
			if _, err := Install(dir, object); err != nil {
				t.Errorf("not mended: %v", err)
			}
		})
	}
}

func TestVerifyErrors(t *testing.T) {
	dir := t.TempDir()
	if err := Verify(dir, object); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	path, err := Install(dir, object)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1); err != nil {
		t.Fatal(err)
	}
	if err := Verify(dir, object); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged: %v", err)
	}
}

func TestInstallWhereItCannot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(file, object); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("into a file: %v", err)
	}
}

func TestNoExec(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	if _, err := Install(dir, object); !errors.Is(err, ErrNoExec) {
		t.Errorf("error %v", err)
	}
}
