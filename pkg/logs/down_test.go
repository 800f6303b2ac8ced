package logs

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// While the reader is down, the file it had read is written on, rotated and
// removed. Nobody knows what was in it, but that it is gone is said.
func TestRotatedAwayWhileDown(t *testing.T) {
	r := newRig(t, "pods")
	r.write(appLog, cri(numbers(0, 5)...))
	r.write("ns_done_uid/app/0.log", cri("done"))
	r.start()
	r.until("both are read", func() bool { return len(r.out.values()) == 6 })
	r.settled()
	r.stop()
	r.ok(os.Remove(r.path(appLog)))
	r.write(appLog+".20240501-100000", cri("later"))
	r.write(appLog, cri("last"))
	// The kubelet removes what an earlier start of a container has written: no
	// loss.
	r.ok(os.Remove(r.path("ns_done_uid/app/0.log")))
	r.write("ns_done_uid/app/2.log", cri("again"))
	r.start()
	r.until("the rest is read", func() bool { return len(r.out.values()) == 9 })
	if l := r.status().Lost; len(l) != 1 || l[lossGone] != (Loss{Events: 1}) {
		t.Errorf("lost %+v, want one file of unknown size", l)
	}
}

// While the reader is down, a file is replaced by one that starts with the same
// line and is longer than what was read: it is read from its beginning.
func TestTwinWhileDown(t *testing.T) {
	const id = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	long := strings.Repeat("a long line ", 30)
	second := 0
	docker := func(texts ...string) (s string) {
		for _, text := range texts {
			second++
			s += fmt.Sprintf(`{"log":"%s\n","stream":"stdout","time":"2024-05-01T10:00:%02d.000000000Z"}`+"\n", text, second)
		}
		return s
	}
	plain := func(texts ...string) string { return strings.Join(texts, "\n") + "\n" }
	for kind, test := range map[string]struct {
		name  string
		lines func(...string) string
	}{
		"docker": {id + "/" + id + "-json.log", docker},
		"files":  {"app.log", plain},
	} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, kind)
			r.write(test.name, test.lines(long, "a1"))
			r.start()
			r.want(long, "a1")
			r.settled()
			r.stop()
			r.ok(os.Remove(r.path(test.name)))
			r.write(test.name+".1", test.lines(long, "b1", "b2", "b3"))
			r.write(test.name, test.lines("c1"))
			r.start()
			r.want(long, "a1", long, "b1", "b2", "b3", "c1")
			r.settled()
			r.stop()
			// And what goes on is not taken for another file.
			r.write(test.name, test.lines("c2"))
			r.start()
			r.want(long, "a1", long, "b1", "b2", "b3", "c1", "c2")
		})
	}
}

// readThenAway has a file of five lines read, and starts again without the root.
func (r *rig) readThenAway(name string) {
	r.t.Helper()
	r.write(name, cri(numbers(0, 5)...))
	r.start()
	r.want(numbers(0, 5)...)
	r.settled()
	r.stop()
	r.ok(os.Rename(r.root, r.root+".away"))
	r.start()
}

// A root that is not there at the start may be mounted yet: what was read of it
// is not forgotten.
func TestRootMountedLate(t *testing.T) {
	for kind, name := range map[string]string{"pods": appLog, "files": "app.log"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, kind)
			r.readThenAway(name)
			r.status() // it has looked
			r.ok(os.Rename(r.root+".away", r.root))
			r.write(name, cri(numbers(5, 6)...))
			r.want(numbers(0, 6)...)
			r.noLoss()
		})
	}
}
