package netns

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInhabited looks in a proc file system of the test's own, whose
// "namespaces" are files.
func TestInhabited(t *testing.T) {
	proc := t.TempDir()
	if _, err := Inhabited(proc, ID{}); err == nil {
		t.Error("a proc without processes cannot be the node's")
	}
	idOf := func(pid string) ID {
		path := filepath.Join(proc, pid, "ns", "net")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return ID{Dev: st.Dev, Ino: st.Ino}
	}
	init, some := idOf("1"), idOf("77")
	if err := os.MkdirAll(filepath.Join(proc, "78", "ns"), 0o755); err != nil { // one that ends
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		id   ID
		want bool
	}{{"a process is in it", some, true}, {"none is", ID{Dev: some.Dev, Ino: 1}, false}, {"init is not asked", init, false}} {
		if got, err := Inhabited(proc, c.id); got != c.want || err != nil {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	loop := filepath.Join(proc, "79", "ns", "net") // what cannot be looked at
	if err := os.MkdirAll(filepath.Dir(loop), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("net", loop); err != nil {
		t.Fatal(err)
	}
	if _, err := Inhabited(proc, ID{Dev: some.Dev, Ino: 1}); err == nil {
		t.Error("a process that cannot be looked at is passed over")
	}
}
