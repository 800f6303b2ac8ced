package attach

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseMountinfo(t *testing.T) {
	data, err := os.ReadFile("testdata/mountinfo-6.18")
	if err != nil {
		t.Fatal(err)
	}
	table, err := parseMountinfo(data)
	if err != nil {
		t.Fatal(err)
	}
	want := []Mount{
		{ID: 27, Parent: 1, Device: Device{254, 0}, Root: "/", Target: "/", Shared: 1, Type: "ext4", Source: "/dev/vda"},
		{ID: 22, Parent: 27, Device: Device{0, 21}, Root: "/", Target: "/proc", Shared: 12, Type: "proc", Source: "proc"},
		{ID: 86, Parent: 22, Device: Device{0, 43}, Root: "/c1/proc/meminfo", Target: "/proc/meminfo", Type: "fuse.truesize", Source: "truesize"},
		{ID: 90, Parent: 27, Device: Device{0, 44}, Root: "/a b", Target: "/mnt/a b\\c\n", Shared: 7, Type: "tmpfs", Source: "x y"},
		{ID: 91, Parent: 27, Device: Device{0, 45}, Root: "/", Target: "/mnt/empty", Type: "tmpfs", Source: ""},
		{ID: 92, Parent: 27, Device: Device{0, 46}, Root: "/gone//deleted", Target: "/mnt/gone", Type: "tmpfs", Source: "tmpfs"},
	}
	if !reflect.DeepEqual(table, want) {
		t.Errorf("got\n%+v\nwant\n%+v", table, want)
	}
}

func TestParseMountinfoBad(t *testing.T) {
	good := "22 27 0:21 / /proc rw - proc proc rw\n"
	for _, line := range []string{
		"", "x 27 0:21 / /proc rw - proc proc rw", "22 x 0:21 / /proc rw - proc proc rw",
		"22 27 0 / /proc rw - proc proc rw", "22 27 0:x / /proc rw - proc proc rw",
		"22 27 0:21 / /proc - proc proc rw", "22 27 0:21 / /proc rw proc proc rw",
		"22 27 0:21 / /proc rw shared:x - proc proc rw", "22 27 0:21 / /proc rw - proc",
	} {
		table, err := parseMountinfo([]byte(good + line + "\n" + good))
		if err == nil || len(table) != 2 {
			t.Errorf("%q: %d mounts, %v; want the two others and an error", line, len(table), err)
		}
	}
}

func FuzzParseMountinfo(f *testing.F) {
	seeds, _ := filepath.Glob("testdata/mountinfo-*")
	for _, name := range seeds {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("22 27 0:21 /\\04 \\777 rw shared:99999999999999999999 - a b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, _ := parseMountinfo(data)
		for _, m := range table {
			if m.isView("truesize:/run") && m.Type != FSType {
				t.Errorf("%+v is taken for a view's", m)
			}
			if strings.Contains(m.Container(), "/") {
				t.Errorf("%+v is of container %q", m, m.Container())
			}
		}
	})
}

func TestParseMountID(t *testing.T) {
	if id, err := parseMountID([]byte("pos:\t0\nflags:\t012300000\nmnt_id:\t31\nino:\t1\n")); err != nil || id != 31 {
		t.Errorf("%d, %v; want 31", id, err)
	}
	if id, err := parseMountID([]byte("pos:\t0\n")); err == nil {
		t.Errorf("%d from an fdinfo without one", id)
	}
}

func TestSplitTarget(t *testing.T) {
	for target, want := range map[string]string{
		"/proc/meminfo": "proc meminfo", "/sys/devices/system/cpu/online": "sys devices/system/cpu/online",
	} {
		b, rel, err := splitTarget(target)
		if err != nil || b.name+" "+rel != want {
			t.Errorf("%s: %s %s, %v", target, b.name, rel, err)
		}
	}
	for _, target := range []string{"", "/", "/proc", "/proc/", "/proc/../etc/passwd", "/proc//meminfo", "proc/meminfo", "/etc/passwd", "/process/x"} {
		if b, rel, err := splitTarget(target); err == nil {
			t.Errorf("%q: %v %q, want an error", target, b, rel)
		}
	}
}
