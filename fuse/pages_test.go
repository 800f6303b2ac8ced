package fuse

import (
	"testing"
	"time"
)

func TestStoreSafe(t *testing.T) {
	for release, want := range map[string]bool{
		"6.18.44-fc-v669": true, "6.11.0": true, "7.0": true, "6.10.14": false, "6.1.0-18-amd64": false,
		"5.10.0": false, "": false, "x": false, "99999999999999999999.1": true,
	} {
		if got := storeSafe(parseRelease([]byte(release))); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}

// A place is empty only when the pages were dropped and no READ was answered
// since, or while they were dropped.
func TestClear(t *testing.T) {
	newNode := func() *node {
		n := &node{freshness: time.Millisecond, content: &script{data: "x\n"}}
		if _, err := n.current(time.Now()); err != nil {
			t.Fatal(err)
		}
		return n
	}
	buf := make([]byte, 10)
	later := time.Now().Add(time.Hour)
	n := newNode()
	if n.clear {
		t.Error("clear at first: an earlier server's READ may have filled pages")
	}
	if n.over(time.Now().Add(-time.Hour)) {
		t.Error("over before the bound")
	}
	n.over(later)
	n.dropped(true)
	if !n.clear {
		t.Error("not clear when dropped")
	}
	if _, empty := n.take([]byte("y\n"), later); !empty || n.clear {
		t.Error("the place was not taken")
	}
	for name, spoil := range map[string]func(n *node){
		"READ while dropping": func(n *node) { n.over(later); n.read(buf, 0, false); n.dropped(true) },
		"READ after":          func(n *node) { n.over(later); n.dropped(true); n.read(buf, 0, false) },
		"not dropped":         func(n *node) { n.over(later); n.dropped(false) },
		"another size":        func(n *node) { n.over(later); n.dropped(true); n.take([]byte("long\n"), later) },
	} {
		n := newNode()
		spoil(n)
		if _, empty := n.take([]byte("z\n"), later); empty {
			t.Errorf("%s: stored over what may be there", name)
		}
	}
}
