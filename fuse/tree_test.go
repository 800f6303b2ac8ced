package fuse

import (
	"strings"
	"testing"
)

func TestNewTree(t *testing.T) {
	tree, err := NewTree([]File{{Path: "proc/b"}, {Path: "proc/a"}, {Path: "sys/x/y"}})
	if err != nil {
		t.Fatal(err)
	}
	var walk func(e *entry, path string) []string
	walk = func(e *entry, path string) (all []string) {
		if tree.byPath[e.index] != e {
			t.Errorf("%s is not under its index", path)
		}
		if !e.isDir() {
			return []string{path + ":" + tree.files[e.file].Path}
		}
		for _, c := range e.children {
			all = append(all, walk(c, path+"/"+c.name)...)
		}
		return all
	}
	want := "/proc/a:proc/a /proc/b:proc/b /sys/x/y:sys/x/y"
	if got := strings.Join(walk(tree.root, ""), " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNewTreeRefuses(t *testing.T) {
	for name, files := range map[string][]File{
		"empty path":         {{Path: ""}},
		"absolute":           {{Path: "/proc/a"}},
		"above":              {{Path: "../a"}},
		"not clean":          {{Path: "proc//a"}},
		"twice":              {{Path: "proc/a"}, {Path: "proc/a"}},
		"file as directory":  {{Path: "proc/a"}, {Path: "proc/a/b"}},
		"directory as file":  {{Path: "proc/a/b"}, {Path: "proc/a"}},
		"colliding node ids": colliding(t),
	} {
		if _, err := NewTree(files); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// colliding finds two paths of the same index.
func colliding(t *testing.T) []File {
	t.Helper()
	seen := make(map[uint16]string)
	for i := range 1 << 17 {
		p := "f" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26%5) + string(rune('a'+i/130%26)) + string(rune('a'+i/3380%26))
		if other, ok := seen[pathIndex(p)]; ok && other != p {
			return []File{{Path: other}, {Path: p}}
		}
		seen[pathIndex(p)] = p
	}
	t.Fatal("no two paths collide")
	return nil
}
