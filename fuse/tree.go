package fuse

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// A File is one file of every container's subtree.
type File struct {
	// Path is relative to the container's subtree: "proc/meminfo".
	Path string
	// Freshness is how old a content may be when it is read. 0 is a file that
	// changes with the container's size only.
	Freshness time.Duration
}

// A Tree is the set of files that every container has.
type Tree struct {
	files  []File
	root   *entry
	byPath map[uint16]*entry // by index
}

// An entry is a directory or a file of a Tree.
type entry struct {
	name     string
	index    uint16
	file     int // position in Tree.files, -1 for a directory
	parent   *entry
	children []*entry // sorted by name
}

func (e *entry) isDir() bool { return e.file < 0 }

func (e *entry) child(name string) *entry {
	i, ok := slices.BinarySearchFunc(e.children, name, func(c *entry, n string) int {
		return strings.Compare(c.name, n)
	})
	if !ok {
		return nil
	}
	return e.children[i]
}

// NewTree makes the tree of the files, with the directories they need.
func NewTree(files []File) (*Tree, error) {
	t := &Tree{
		files:  slices.Clone(files),
		root:   &entry{file: -1, index: pathIndex("")},
		byPath: make(map[uint16]*entry),
	}
	t.byPath[t.root.index] = t.root
	for i, f := range t.files {
		if f.Path == "" || f.Path[0] == '/' || path.Clean(f.Path) != f.Path || strings.HasPrefix(f.Path, "..") {
			return nil, fmt.Errorf("file %q: want a clean relative path", f.Path)
		}
		if err := t.add(f.Path, i); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// add puts file number file at path p.
func (t *Tree) add(p string, file int) error {
	dir, rest := t.root, p
	for {
		name, below, more := strings.Cut(rest, "/")
		next := dir.child(name)
		if next != nil && (!more || !next.isDir()) {
			return fmt.Errorf("file %q: %q is there already", p, next.name)
		}
		if next == nil {
			upTo := p
			kind := file
			if more {
				upTo, kind = p[:len(p)-len(below)-1], -1
			}
			next = &entry{name: name, index: pathIndex(upTo), file: kind, parent: dir}
			if other := t.byPath[next.index]; other != nil {
				return fmt.Errorf("file %q: its node index %#x is that of %q: rename one", p, next.index, other.name)
			}
			t.byPath[next.index] = next
			at, _ := slices.BinarySearchFunc(dir.children, name, func(c *entry, n string) int {
				return strings.Compare(c.name, n)
			})
			dir.children = slices.Insert(dir.children, at, next)
		}
		if !more {
			return nil
		}
		dir, rest = next, below
	}
}
