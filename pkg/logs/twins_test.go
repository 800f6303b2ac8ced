package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Two files that start alike are two files.
func TestTwins(t *testing.T) {
	r := newRig(t, "files")
	r.start()
	r.write("app.log", "banner\n", "a1\n")
	r.want("banner", "a1")
	r.ok(os.Rename(r.path("app.log"), r.path("app.log.1")))
	r.write("app.log", "banner\n", "b1\n")
	r.want("banner", "a1", "banner", "b1")
	r.settled()
	r.stop()
	r.start()
	r.write("app.log", "b2\n")
	r.want("banner", "a1", "banner", "b1", "b2")
	// The first one goes, and others that start alike come: each has positions
	// of its own.
	r.ok(os.Remove(r.path("app.log.1")))
	r.stop()
	r.start()
	r.write("app.log", "b3\n")
	r.want("banner", "a1", "banner", "b1", "b2", "b3")
	r.ok(os.Rename(r.path("app.log"), r.path("app.log.1")))
	r.write("app.log", "banner\n", "c1\n")
	r.want("banner", "a1", "banner", "b1", "b2", "b3", "banner", "c1")
	seen := map[string]string{}
	for _, g := range r.out.got {
		if v, ok := seen[g.position]; ok {
			t.Errorf("%q and %q have the position %s", v, g.value, g.position)
		}
		seen[g.position] = g.value
	}
	r.noLoss()
	if entries, _ := filepath.Glob(r.path("*")); len(entries) != 2 {
		t.Errorf("files %v", entries)
	}
}

// A file that starts like one that is forgotten has positions of its own.
func TestTwinOfForgotten(t *testing.T) {
	r := newRig(t, "files")
	r.start()
	var want []string
	for i := range 4 {
		r.write("app.log", "banner\n", fmt.Sprintf("line %d\n", i))
		want = append(want, "banner", fmt.Sprint("line ", i))
		r.want(want...)
		if i%2 == 0 {
			r.ok(os.Remove(r.path("app.log")))
			r.until("it is forgotten", func() bool { return r.status().OpenFiles == 0 })
		} else {
			r.ok(os.Truncate(r.path("app.log"), 0))
			r.until("what was in it is forgotten", func() bool {
				known := make(chan int)
				r.c.loop.asks <- func() {
					for _, d := range r.c.loop.roots[0].logs {
						known <- len(d.byID)
					}
				}
				return <-known == 0
			})
		}
	}
	seen := map[string]bool{}
	for _, g := range r.out.got {
		if seen[g.position] {
			t.Errorf("%q has a position that was there before", g.value)
		}
		seen[g.position] = true
	}
}

// A file is removed and another one that starts alike takes its name: it is no
// other form of the first, whether that was read to its end or not.
func TestTwinFollows(t *testing.T) {
	for name, held := range map[string]bool{"read": false, "unread": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "files")
			r.start()
			r.write("app.log", "banner\n", "a1, longer than what follows\n")
			want := []string{"banner", "a1, longer than what follows"}
			r.want(want...)
			r.settled()
			r.out.hold(held)
			if held {
				r.write("app.log", "a2\n")
				want = append(want, "a2")
			}
			r.c.loop.asks <- func() { // nobody looks between
				r.ok(os.Remove(r.path("app.log")))
				r.write("app.log", "banner\n")
			}
			r.until("the other one is found", func() bool { return !held || r.status().OpenFiles == 2 })
			r.out.hold(false)
			want = append(want, "banner")
			r.want(want...)
			r.write("app.log", "b1\n")
			r.want(append(want, "b1")...)
			r.settled()
			r.noLoss()
		})
	}
}

// Files that start alike are compressed: each compressed one is the form of its
// own original, and none is read again when an older one goes.
func TestTwinsCompressed(t *testing.T) {
	r := newRig(t, "files")
	r.start()
	var want []string
	for i := range 6 {
		r.write("app.log", "banner\n", fmt.Sprintf("line %d\n", i))
		want = append(want, "banner", fmt.Sprint("line ", i))
		r.want(want...)
		r.settled()
		_ = os.Remove(r.path("app.log.3.gz"))
		for j := 2; j > 0; j-- {
			_ = os.Rename(r.path(fmt.Sprintf("app.log.%d.gz", j)), r.path(fmt.Sprintf("app.log.%d.gz", j+1)))
		}
		r.ok(os.Rename(r.path("app.log"), r.path("app.log.1")))
		gz(t, r.path("app.log.1"))
	}
	r.until("only the last is open", func() bool {
		r.c.loop.asks <- func() { r.c.loop.scan(true) }
		return r.status().OpenFiles <= 1
	})
	r.want(want...)
	r.noLoss()
}
