package viewd

import (
	"os"
	"path/filepath"
	"testing"
)

func TestInstall(t *testing.T) {
	source := filepath.Join(t.TempDir(), "truesize-viewd")
	dir := filepath.Join(t.TempDir(), "viewd")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(source, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mustInstall := func() string {
		t.Helper()
		path, err := install(source, dir)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	want := func(path, content string) {
		t.Helper()
		data, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		if err != nil || serr != nil || string(data) != content || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %q, %v, %v", path, data, err, serr)
		}
	}
	write("one")
	one := mustInstall()
	want(one, "one")
	before, _ := os.Stat(one)
	if again := mustInstall(); again != one {
		t.Errorf("again at %s", again)
	}
	if after, _ := os.Stat(one); !os.SameFile(before, after) {
		t.Error("a good copy was replaced")
	}
	write("two")
	two := mustInstall()
	want(one, "one")
	want(two, "two")

	if err := os.WriteFile(two, []byte("damaged"), 0o755); err != nil {
		t.Fatal(err)
	}
	want(mustInstall(), "two")

	if err := prune(dir, two, "/elsewhere/truesize-viewd"); err != nil {
		t.Fatal(err)
	}
	want(two, "two")
	if _, err := os.Stat(filepath.Dir(one)); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", one, err)
	}
	if _, err := install("/nonexistent/truesize-viewd", dir); err == nil {
		t.Error("installed nothing")
	}
}
