package registry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/truesize/truesize/pkg/size"
	"golang.org/x/sys/unix"
)

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "containers"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func entry(id string, cpus int) *Container {
	return &Container{
		ID: id, Name: "app", Pod: "web-0", Namespace: "shop", BootID: "b",
		Cgroup:   map[string]string{"": "/kubepods/" + id},
		Decision: size.Decision{Size: size.Size{CPUs: cpus, Memory: 1 << 30}},
	}
}

func put(t *testing.T, d *Dir, c *Container) {
	t.Helper()
	if err := d.Put(c); err != nil {
		t.Fatal(err)
	}
}

// write puts data where the entry of id is, as writers do.
func write(t *testing.T, d *Dir, id, data string) {
	t.Helper()
	dir := filepath.Join(d.Path(), id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(dir, entryFile, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func TestValidID(t *testing.T) {
	for _, id := range []string{"a", "A1", "0123456789abcdef", "a_b.c-d", strings.Repeat("a", 128)} {
		if err := ValidID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{
		"", ".", "..", ".truesize", "a/b", "../a", "/a", "a\x00b", "a b", "a\n", "-a", "a-", "a.", "ä",
		strings.Repeat("a", 129),
	} {
		if err := ValidID(id); !errors.Is(err, ErrBadID) {
			t.Errorf("%q: got %v, want ErrBadID", id, err)
		}
	}
}

func TestBadIDTouchesNothing(t *testing.T) {
	d := open(t)
	secret := filepath.Join(filepath.Dir(d.Path()), "secret")
	if err := os.Mkdir(secret, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Put(entry("../secret", 1)); !errors.Is(err, ErrBadID) {
		t.Errorf("Put: %v", err)
	}
	if _, err := d.Get("../secret"); !errors.Is(err, ErrBadID) {
		t.Errorf("Get: %v", err)
	}
	if err := d.Remove("../secret"); !errors.Is(err, ErrBadID) {
		t.Errorf("Remove: %v", err)
	}
	if _, err := os.Stat(secret); err != nil {
		t.Error(err)
	}
}

func TestPutGetRemove(t *testing.T) {
	d := open(t)
	if _, err := d.Get("c1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of none: %v", err)
	}
	put(t, d, entry("c1", 2))
	put(t, d, entry("c1", 3))
	put(t, d, entry("c2", 4))
	got, err := d.Get("c1")
	if err != nil || got.Decision.Size.CPUs != 3 || got.Version != SchemaVersion || got.Cgroup[""] != "/kubepods/c1" {
		t.Errorf("got %+v, %v", got, err)
	}
	if list, err := d.List(); err != nil || len(list) != 2 || list[0].ID != "c1" {
		t.Errorf("List: %v, %v", list, err)
	}
	// What others keep beside the entry goes with it.
	if err := os.WriteFile(filepath.Join(d.Path(), "c1", "counters"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Remove("c1"); err != nil {
			t.Error(err)
		}
	}
	if ids, _ := d.IDs(); len(ids) != 1 || ids[0] != "c2" {
		t.Errorf("after Remove: %v", ids)
	}
}

func TestCorruptEntries(t *testing.T) {
	good := `{"version":1,"id":"c1","decision":{"size":{"cpus":1,"memory":4096}}}`
	for name, data := range map[string]string{
		"empty":           "",
		"truncated":       good[:len(good)-3],
		"NUL bytes":       strings.Repeat("\x00", 100),
		"no version":      `{"id":"c1","decision":{"size":{"cpus":1,"memory":4096}}}`,
		"newer version":   strings.Replace(good, `"version":1`, `"version":99`, 1),
		"another's":       strings.Replace(good, `"c1"`, `"c2"`, 1),
		"no CPU":          strings.Replace(good, `"cpus":1`, `"cpus":0`, 1),
		"negative CPUs":   strings.Replace(good, `"cpus":1`, `"cpus":-1`, 1),
		"no memory":       strings.Replace(good, `4096`, `0`, 1),
		"negative memory": strings.Replace(good, `4096`, `-1`, 1),
		"too large":       good + strings.Repeat(" ", maxEntry),
		"array":           `[]`,
	} {
		d := open(t)
		put(t, d, entry("c0", 1))
		write(t, d, "c1", data)
		if c, err := d.Get("c1"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %+v, %v, want ErrCorrupt", name, c, err)
		}
		list, err := d.List()
		if len(list) != 1 || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), filepath.Join("c1", entryFile)) {
			t.Errorf("%s: the others are not listed, or the error names no file: %v, %v", name, list, err)
		}
	}
	d := open(t)
	write(t, d, "c1", good)
	if _, err := d.Get("c1"); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestSkippedEntryNeedsNoSize(t *testing.T) {
	d := open(t)
	put(t, d, &Container{ID: "c1", Skipped: "privileged"})
	if c, err := d.Get("c1"); err != nil || c.Skipped != "privileged" {
		t.Errorf("got %+v, %v", c, err)
	}
}

// An entry that is no regular file is neither followed nor waited for.
func TestEntryThatIsNoFile(t *testing.T) {
	d := open(t)
	put(t, d, entry("real", 1))
	for id, plant := range map[string]func(path string) error{
		"link": func(p string) error { return os.Symlink(filepath.Join(d.Path(), "real", entryFile), p) },
		"fifo": func(p string) error { return unix.Mkfifo(p, 0o644) },
		"dir":  func(p string) error { return os.Mkdir(p, 0o755) },
	} {
		if err := os.Mkdir(filepath.Join(d.Path(), id), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := plant(filepath.Join(d.Path(), id, entryFile)); err != nil {
			t.Fatal(err)
		}
		if c, err := d.Get(id); err == nil {
			t.Errorf("%s: got %+v", id, c)
		}
	}
}

func TestIDsLeavesOutWhatIsNoContainer(t *testing.T) {
	d := open(t)
	put(t, d, entry("c1", 1))
	if err := os.WriteFile(filepath.Join(d.Path(), "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(d.Path(), ".hidden"), 0o755); err != nil {
		t.Fatal(err)
	}
	if ids, err := d.IDs(); err != nil || len(ids) != 1 || ids[0] != "c1" {
		t.Errorf("got %v, %v", ids, err)
	}
}

// A reader sees one entry or the other, whole, while they are replaced.
func TestNoTornEntry(t *testing.T) {
	d := open(t)
	put(t, d, entry("c1", 1))
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 200 {
			c := entry("c1", 1+i)
			c.Pod = strings.Repeat(fmt.Sprint(i%10), 1+i*50) // of different lengths
			if err := d.Put(c); err != nil {
				t.Error(err)
			}
		}
	})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := d.Get("c1"); err != nil {
					t.Errorf("torn: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	entries, err := os.ReadDir(filepath.Join(d.Path(), "c1"))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestUpdate(t *testing.T) {
	d := open(t)
	if err := d.Update(entry("a", 1)); !errors.Is(err, ErrNotFound) {
		t.Errorf("of one that was never there: %v", err)
	}
	put(t, d, entry("a", 1))
	if err := d.Update(entry("a", 2)); err != nil {
		t.Error(err)
	}
	if c, err := d.Get("a"); err != nil || c.Decision.Size.CPUs != 2 {
		t.Errorf("got %+v, %v", c, err)
	}
	if err := d.Remove("a"); err != nil {
		t.Error(err)
	}
	if err := d.Update(entry("a", 3)); !errors.Is(err, ErrNotFound) {
		t.Errorf("of one that was removed: %v", err)
	}
	if err := d.Update(entry("../a", 1)); !errors.Is(err, ErrBadID) {
		t.Errorf("got %v", err)
	}
	if ids, err := d.IDs(); err != nil || len(ids) > 0 {
		t.Errorf("left: %v, %v", ids, err)
	}
}

// A container is gone after its removal, whatever others write meanwhile: its
// entry, or a file of theirs beside it.
func TestRemoveWhileOthersWrite(t *testing.T) {
	d := open(t)
	dir, err := d.ContainerDir("a")
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg   sync.WaitGroup
		stop = make(chan struct{})
	)
	writer := func(write func(i int)) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					write(i)
				}
			}
		})
	}
	writer(func(i int) {
		if err := d.Update(entry("a", 1+i%8)); err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
	writer(func(i int) {
		_ = os.WriteFile(filepath.Join(dir, fmt.Sprint("counters", i)), nil, 0o644) // there may be no directory
	})
	for range 40 {
		put(t, d, entry("a", 1))
		if err := d.Remove("a"); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the directory after the removal: %v", err)
		}
	}
	close(stop)
	wg.Wait()
}

// What a writer left that was killed before the rename is not an entry.
func TestUnfinishedWrite(t *testing.T) {
	d := open(t)
	dir := filepath.Join(d.Path(), "c1")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "."+entryFile+".123"), []byte(`{"ver`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get("c1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if list, err := d.List(); err != nil || len(list) != 0 {
		t.Errorf("List: %v, %v", list, err)
	}
	put(t, d, entry("c1", 1))
	if err := d.Remove("c1"); err != nil {
		t.Error(err)
	}
}

func TestWriteFailureKeepsTheEntry(t *testing.T) {
	d := open(t)
	put(t, d, entry("c1", 1))
	// A directory in the way of the rename stands for any failure there.
	write(t, d, "c2", "x")
	p := filepath.Join(d.Path(), "c2", entryFile)
	if err := errors.Join(os.Remove(p), os.Mkdir(p, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := d.Put(entry("c2", 1)); err == nil {
		t.Error("Put over a directory succeeded")
	}
	if entries, _ := os.ReadDir(filepath.Join(d.Path(), "c2")); len(entries) != 1 {
		t.Errorf("temp file left behind: %v", entries)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"c1","decision":{"size":{"cpus":1,"memory":4096}}}`))
	f.Add([]byte(`{"version":1,"id":"c1","skipped":"hostPID"}`))
	f.Add([]byte(`{"version":1e9}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decode(data)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
		if c != nil && c.Skipped == "" && (c.Decision.Size.CPUs < 1 || c.Decision.Size.Memory == 0) {
			t.Fatalf("no size: %+v", c)
		}
	})
}

// Who has read an entry reads it again only when it is another.
func TestGetChanged(t *testing.T) {
	d, c := open(t), entry("a", 1)
	put(t, d, c)
	got, seen, err := d.GetChanged("a", Stamp{})
	if err != nil || got == nil || seen == (Stamp{}) {
		t.Fatal(got, seen, err)
	}
	if got, again, err := d.GetChanged("a", seen); err != nil || got != nil || again != seen {
		t.Errorf("the same entry: %v, %v, %v", got, again, err)
	}
	put(t, d, c) // says the same, and may be of the same moment
	if got, again, err := d.GetChanged("a", seen); err != nil || got == nil || again == seen {
		t.Errorf("another entry: %v, %v, %v", got, again, err)
	}
	if _, _, err := d.GetChanged("b", seen); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
