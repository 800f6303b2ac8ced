package logs

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// copytruncate: the file is copied, then cut. What was not read is in the copy.
func TestCopyTruncate(t *testing.T) {
	for _, kind := range []string{"files", "docker"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, kind)
			name, lines := "app.log", cri
			if kind == "docker" {
				name, lines = "0123/0123-json.log", dockerLines
			}
			r.start()
			r.write(name, lines(numbers(0, 10)...))
			r.want(numbers(0, 10)...)
			for round := range 3 {
				r.out.hold(true)
				from := 10 + round*20
				r.write(name, lines(numbers(from, from+10)...))
				copyFile(t, r.path(name), r.path(name+".1"), round)
				r.ok(os.Truncate(r.path(name), 0))
				r.write(name, lines(numbers(from+10, from+20)...))
				r.out.hold(false)
				r.want(numbers(0, from+20)...)
			}
			r.settled()
			r.noLoss()
		})
	}
}

// copytruncate while the reader is away: what was not read is in the copy.
func TestCopyTruncateWhileDown(t *testing.T) {
	r := newRig(t, "docker")
	const name = "0123/0123-json.log"
	r.start()
	r.write(name, dockerLines(numbers(0, 10)...))
	r.want(numbers(0, 10)...)
	r.settled()
	r.stop()
	r.write(name, dockerLines(numbers(10, 20)...))
	copyFile(t, r.path(name), r.path(name+".1"), 0)
	r.ok(os.Truncate(r.path(name), 0))
	r.write(name, dockerLines(numbers(20, 40)...))
	r.start()
	r.want(numbers(0, 40)...)
	r.settled()
	r.noLoss()
}

func dockerLines(texts ...string) string {
	var b strings.Builder
	for _, s := range texts {
		criClock = criClock.Add(time.Millisecond)
		fmt.Fprintf(&b, "{\"log\":%q,\"stream\":\"stdout\",\"time\":%q}\n", s+"\n", criClock.Format(time.RFC3339Nano))
	}
	return b.String()
}

// copyFile copies as logrotate does: the copies before move up first.
func copyFile(t *testing.T, from, to string, older int) {
	t.Helper()
	for i := older; i > 0; i-- {
		n := func(i int) string { return to[:len(to)-1] + string(rune('0'+i)) }
		if err := os.Rename(n(i), n(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}

// Truncation without a copy loses what was not read, and only that.
func TestTruncate(t *testing.T) {
	r := newRig(t, "files")
	r.start()
	r.write("app.log", cri(numbers(0, 10)...))
	r.want(numbers(0, 10)...)
	r.ok(os.Truncate(r.path("app.log"), 0))
	r.write("app.log", cri("short"))
	r.want(append(numbers(0, 10), "short")...)
	// Cut, and at once written to more than before.
	r.ok(os.Truncate(r.path("app.log"), 0))
	r.write("app.log", cri(numbers(100, 200)...))
	r.want(append(append(numbers(0, 10), "short"), numbers(100, 200)...)...)
	r.noLoss()
}

// A file is cut in the middle of being read, and written anew beyond the place
// up to which it was read: what is written anew is read from its beginning, and
// what was not read is counted.
func TestTruncateWhileBlocked(t *testing.T) {
	r := newRig(t, "files")
	r.cfg.Memory = 16 << 20
	line := strings.Repeat("x", 1000)
	old := strings.Repeat(cri("old "+line), 10_000)
	r.write("app.log", old)
	r.out.silent = true
	r.start()
	r.until("no memory is left", func() bool { return r.status().BufferedBytes >= 4<<20 })
	read := r.status().Totals.ReadBytes
	r.ok(os.Truncate(r.path("app.log"), 0))
	r.write("app.log", strings.Repeat(cri("new "+line), 8_000))
	r.c.loop.asks <- func() { r.c.loop.scan(true) }
	r.out.mu.Lock()
	r.out.silent = false
	for _, c := range r.out.waiting {
		c.Done(c)
	}
	r.out.mu.Unlock()
	count := func() (n int) {
		for _, v := range r.out.values() {
			if v == "new "+line {
				n++
			}
		}
		return n
	}
	r.until("all of the new content has come", func() bool { return count() == 8_000 })
	r.settled()
	if l, want := r.status().Lost[lossTruncated], (Loss{1, int64(len(old)) - read, 0}); l != want {
		t.Errorf("lost %+v, want %+v", l, want)
	}
}
