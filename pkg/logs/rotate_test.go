package logs

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/logs/quantity"
)

const appLog = "ns_pod_uid/app/0.log"

func gz(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	if err := os.WriteFile(path+".gz.part", b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".gz.part", path+".gz"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// A file is renamed, written on for a moment, and the next one begun.
func TestRename(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	r.write(appLog, cri(numbers(0, 5)...))
	r.want(numbers(0, 5)...)
	r.ok(os.Rename(r.path(appLog), r.path(appLog+".20240501-100000")))
	r.write(appLog+".20240501-100000", cri(numbers(5, 8)...))
	r.want(numbers(0, 8)...)
	r.write(appLog+".20240501-100000", cri(numbers(8, 9)...))
	r.write(appLog, cri(numbers(9, 20)...))
	r.want(numbers(0, 20)...)
	// And again, faster than anybody looks.
	r.write(appLog, cri(numbers(20, 25)...))
	r.ok(os.Rename(r.path(appLog), r.path(appLog+".20240501-100001")))
	r.write(appLog, cri(numbers(25, 30)...))
	r.ok(os.Rename(r.path(appLog), r.path(appLog+".20240501-100002")))
	r.write(appLog, cri(numbers(30, 35)...))
	r.want(numbers(0, 35)...)
	r.settled()
	r.noLoss()
	r.until("only the file being written is open", func() bool { return r.status().OpenFiles == 1 })
}

// However fast a log is rotated, its lines come in order: a rotation may fall
// into the listing of the directory, and the file that is found then has one
// before it that is not in the list.
func TestRotatedWhileListed(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	const n = 300
	for i := range n {
		r.write(appLog, cri(numbers(i, i+1)...))
		r.ok(os.Rename(r.path(appLog), r.path(fmt.Sprintf("%s.20240501-10%02d%02d", appLog, i/60, i%60))))
	}
	r.write(appLog, cri(numbers(n, n+1)...))
	r.want(numbers(0, n+1)...)
	r.noLoss()
}

// A racer is a file whose writer, at the very moment when its end was seen,
// writes once more and goes on to the next file.
type racer struct {
	plainContent
	atEnd func()
}

func (c *racer) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.plainContent.ReadAt(p, off)
	if n == 0 && c.atEnd != nil {
		c.atEnd()
		c.atEnd = nil
	}
	return n, err
}

func TestWrittenBetweenEndAndNext(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	r.write(appLog, cri(numbers(0, 5)...))
	r.want(numbers(0, 5)...)
	r.ok(os.Rename(r.path(appLog), r.path(appLog+".20240501-100000")))
	r.write(appLog)
	r.until("both are open", func() bool { return r.status().OpenFiles == 2 })
	r.c.loop.asks <- func() {
		for _, d := range r.c.loop.roots[0].logs {
			f := d.chains["0"].files[0]
			f.src = &racer{f.src.(plainContent), func() {
				r.write(appLog+".20240501-100000", cri(numbers(5, 6)...))
				r.write(appLog, cri(numbers(6, 7)...))
			}}
			r.c.loop.ready(f.chain)
		}
	}
	r.want(numbers(0, 7)...)
	r.noLoss()
}

// Much is written to a file between the look at its end and the last read: its
// lines stay whole.
func TestMuchAtTheEnd(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	r.write(appLog, cri(numbers(0, 5)...))
	r.want(numbers(0, 5)...)
	old := appLog + ".20240501-100000"
	r.ok(os.Rename(r.path(appLog), r.path(old)))
	r.write(appLog)
	r.until("both are open", func() bool { return r.status().OpenFiles == 2 })
	r.c.loop.asks <- func() {
		for _, d := range r.c.loop.roots[0].logs {
			f := d.chains["0"].files[0]
			f.nextAt = time.Unix(0, 0) // has been left behind
			f.src = &racer{f.src.(plainContent), func() {
				r.write(old, cri(numbers(5, 9000)...))
				r.write(appLog, cri(numbers(9000, 9001)...))
			}}
			f.lastGrowth = time.Time{}
			r.c.loop.ready(f.chain)
		}
	}
	r.want(numbers(0, 9001)...)
	r.noLoss()
}

// A last line without its end may be as long as some reads.
func TestEndsWithRead(t *testing.T) {
	r := newRig(t, "files")
	r.start()
	long := strings.Repeat("x", 2*quantum)
	r.write("app.log", long)
	r.until("it is read", func() bool { return r.status().Totals.ReadBytes == 2*quantum })
	r.ok(os.Remove(r.path("app.log")))
	r.want(long)
	r.until("it is forgotten", func() bool { return r.status().OpenFiles == 0 })
	r.noLoss()
}

// A directory is deleted and made again, faster than anybody looks; only the
// kernel's hints are there to find what is in it.
func TestRecreated(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.ScanInterval = quantity.Duration(time.Hour)
	r.start()
	for i := range 20 {
		r.write(appLog, cri(numbers(i, i+1)...))
		r.want(numbers(0, i+1)...)
		r.ok(os.RemoveAll(r.path("ns_pod_uid")))
	}
}

// A copy that stands beside its original is not read as well.
func TestCopyBeside(t *testing.T) {
	for _, form := range []string{"plain", "gzip"} {
		t.Run(form, func(t *testing.T) {
			r := newRig(t, "pods")
			r.start()
			old := appLog + ".20240501-100000"
			r.write(old, cri(numbers(0, 5)...))
			r.want(numbers(0, 5)...)
			data, err := os.ReadFile(r.path(old))
			r.ok(err)
			if form == "gzip" {
				r.ok(os.WriteFile(r.path(old), data, 0o644))
				tmp := filepath.Join(t.TempDir(), "x")
				r.ok(os.WriteFile(tmp, data, 0o644))
				gz(t, tmp)
				r.ok(os.Rename(tmp+".gz", r.path(old+".gz")))
			} else {
				r.ok(os.WriteFile(r.path(appLog+".20240501-100001"), data, 0o644))
			}
			time.Sleep(300 * time.Millisecond)
			r.write(appLog, cri(numbers(5, 6)...))
			r.want(numbers(0, 6)...)
			r.ok(os.Remove(r.path(old)))
			time.Sleep(300 * time.Millisecond)
			r.write(appLog, cri(numbers(6, 7)...))
			r.want(numbers(0, 7)...)
			r.noLoss()
		})
	}
}

// While the reader is down, the file it was reading is rotated, compressed and
// followed by others; it goes on in the middle of the compressed one.
func TestGzipWhileDown(t *testing.T) {
	for name, first := range map[string]int{"read in part": 5, "read to its end": 10, "never read": 0} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "pods")
			if first > 0 {
				r.write(appLog, cri(numbers(0, first)...))
				r.start()
				r.want(numbers(0, first)...)
				r.stop()
			}
			r.write(appLog, cri(numbers(first, 10)...))
			r.ok(os.Rename(r.path(appLog), r.path(appLog+".20240501-100000")))
			gz(t, r.path(appLog+".20240501-100000"))
			r.write(appLog+".20240501-100001", cri(numbers(10, 20)...))
			gz(t, r.path(appLog+".20240501-100001"))
			r.write(appLog+".20240501-100002", cri(numbers(20, 30)...))
			r.write(appLog, cri(numbers(30, 40)...))
			r.start()
			r.want(numbers(0, 40)...)
			r.settled()
			r.stop()
			// Nothing comes again.
			r.start()
			r.write(appLog, cri(numbers(40, 41)...))
			r.want(numbers(0, 41)...)
			r.noLoss()
		})
	}
}

// A compressed file that cannot be read does not hold up those after it, also
// where the clock was set back since it was written.
func TestGzipOfTheFuture(t *testing.T) {
	r := newRig(t, "pods")
	bad := appLog + ".20240501-100000.gz"
	r.write(bad, "\x1f\x8b\x08 and no more of it")
	later := time.Now().Add(time.Hour)
	r.ok(os.Chtimes(r.path(bad), later, later))
	r.write(appLog, cri("one"))
	r.start()
	r.want("one")
	if n := r.status().Lost[lossUnreadable].Events; n != 1 {
		t.Errorf("%d files are counted as unreadable, want one", n)
	}
}

// A file is compressed while it is read, and while nothing can be delivered.
func TestGzipWhileBlocked(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	r.write(appLog, cri(numbers(0, 5)...))
	r.want(numbers(0, 5)...)
	r.out.hold(true)
	r.write(appLog, cri(numbers(5, 10)...))
	r.ok(os.Rename(r.path(appLog), r.path(appLog+".20240501-100000")))
	r.write(appLog, cri(numbers(10, 15)...))
	r.until("both are open", func() bool { return r.status().OpenFiles == 2 })
	gz(t, r.path(appLog+".20240501-100000"))
	time.Sleep(100 * time.Millisecond)
	r.out.hold(false)
	r.want(numbers(0, 15)...)
	r.write(appLog, cri(numbers(15, 16)...))
	r.want(numbers(0, 16)...)
	r.settled()
	r.noLoss()
}

// The oldest file goes before it was read: it is read all the same.
func TestDeletedUnread(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	r.out.hold(true)
	r.write(appLog, cri(numbers(0, 1000)...))
	r.until("the file is open", func() bool { return r.status().OpenFiles == 1 })
	r.ok(os.RemoveAll(r.path("ns_pod_uid")))
	time.Sleep(100 * time.Millisecond)
	// A new pod of the same name and uid, whose inode may be any.
	r.write(appLog, cri(numbers(1000, 1010)...))
	time.Sleep(100 * time.Millisecond)
	r.out.hold(false)
	r.want(numbers(0, 1010)...)
	r.ok(os.RemoveAll(r.path("ns_pod_uid")))
	r.until("all is forgotten", func() bool { s := r.status(); return len(s.Containers) == 0 && s.OpenFiles == 0 })
	r.noLoss()
}

// Deleted files beyond the bound are given up, and exactly what was in them is
// counted.
func TestDeletedBound(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.Deleted.MaxBytes = 3000
	r.start()
	r.out.hold(true)
	first, second := cri(numbers(0, 100)...), cri(numbers(100, 150)...)
	r.write("ns_a_1/app/0.log", first)
	r.write("ns_b_2/app/0.log", second)
	r.until("both are open", func() bool { return r.status().OpenFiles == 2 })
	r.ok(os.RemoveAll(r.path("ns_a_1")))
	r.until("the first is noticed", func() bool { return r.status().OpenFiles == 2 || len(r.status().Lost) > 0 })
	r.until("the first is given up", func() bool { return r.status().Lost[lossDeleted].Lines == 100 })
	r.ok(os.RemoveAll(r.path("ns_b_2")))
	time.Sleep(1200 * time.Millisecond)
	r.out.hold(false)
	r.want(numbers(100, 150)...)
	if l := r.status().Lost; len(l) != 1 || l[lossDeleted] != (Loss{1, int64(len(first)), 100}) {
		t.Errorf("lost %+v, want %d bytes", l, len(first))
	}
}

// What is kept open of files that were compressed meanwhile is bounded as well:
// above the bound they are read on from their compressed form.
func TestCompressedBound(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	r.write(appLog, cri(numbers(0, 5)...))
	r.want(numbers(0, 5)...)
	r.out.hold(true)
	for i := range 3 {
		r.write(appLog, cri(numbers(5+10*i, 15+10*i)...))
		old := fmt.Sprintf("%s.20240501-10000%d", appLog, i)
		r.ok(os.Rename(r.path(appLog), r.path(old)))
		r.write(appLog)
		r.until("all are open", func() bool { return r.status().OpenFiles == i+2 })
		gz(t, r.path(old))
		r.until("it is counted", func() bool { return r.status().DeletedFiles == i+1 })
	}
	r.c.loop.asks <- func() { r.c.loop.cfg.Deleted.MaxBytes = 1 }
	r.until("nothing deleted is open", func() bool { s := r.status(); return s.DeletedFiles == 0 && s.OpenFiles == 4 })
	r.write(appLog, cri(numbers(35, 40)...))
	r.out.hold(false)
	r.want(numbers(0, 40)...)
	r.settled()
	r.noLoss()
}

// One that is deleted for longer than the bound is given up as well.
func TestDeletedAge(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.Deleted.MaxAge = quantity.Duration(time.Millisecond)
	r.start()
	r.out.hold(true)
	text := cri(numbers(0, 100)...)
	r.write("ns_a_1/app/0.log", text)
	r.until("it is open", func() bool { return r.status().OpenFiles == 1 })
	r.ok(os.RemoveAll(r.path("ns_a_1")))
	want := Loss{Events: 1, Bytes: int64(len(text)), Lines: 100}
	r.until("it is given up", func() bool { return r.status().Lost[lossDeleted] == want })
	r.out.hold(false)
	r.write("ns_b_2/app/0.log", cri("later"))
	r.want("later")
}

// A file that the checkpoint knows, and of which not all was read, is gone
// after a restart: counted.
func TestGoneWhileDown(t *testing.T) {
	r := newRig(t, "pods")
	r.write(appLog, cri(numbers(0, 5)...))
	r.start()
	r.want(numbers(0, 5)...)
	r.settled()
	r.out.hold(true)
	more := cri(numbers(5, 9)...)
	r.write(appLog, more)
	r.until("its size is known", func() bool {
		c := r.status().Containers
		r.write("x", "") // makes the reader look
		r.c.loop.asks <- func() { r.c.loop.scan(true) }
		return len(c) == 1 && c[0].LagBytes == int64(len(more))
	})
	r.stop()
	r.ok(os.RemoveAll(r.path("ns_pod_uid")))
	r.start()
	r.until("the loss is counted", func() bool { return r.status().Lost[lossGone].Bytes == int64(len(more)) })
}

// Another file gets the inode of one that was read and removed.
func TestInodeReuse(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	ino := func(p string) uint64 {
		var st unix.Stat_t
		r.ok(unix.Stat(p, &st))
		return st.Ino
	}
	reused, from := 0, 0
	for range 30 {
		r.write(appLog, cri(numbers(from, from+10)...))
		rotated := r.path(appLog + ".20240501-100000")
		r.ok(os.Rename(r.path(appLog), rotated))
		r.write(appLog, cri(numbers(from+10, from+11)...))
		from += 11
		r.want(numbers(0, from)...)
		r.until("the rotated file is closed", func() bool { return r.status().OpenFiles == 1 })
		old := ino(rotated)
		r.ok(os.Remove(rotated))
		r.ok(os.Rename(r.path(appLog), r.path(appLog+".20240501-100001")))
		r.write(appLog, cri(numbers(from, from+10)...))
		from += 10
		if ino(r.path(appLog)) == old {
			reused++
		}
		r.want(numbers(0, from)...)
		r.ok(os.Remove(r.path(appLog + ".20240501-100001")))
		if reused >= 2 {
			break
		}
	}
	if reused == 0 {
		t.Log("the file system used no inode again")
	}
	r.noLoss()
}

// A runtime begins the next file while the last lines of a stream, here the
// first half of one, are still on their way to the one before: they are waited
// for, so that the halves meet.
func TestWrittenAfterNext(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	r.write(appLog, cri(numbers(0, 5)...))
	r.want(numbers(0, 5)...)
	old := appLog + ".20240501-100000"
	r.c.loop.asks <- func() {
		r.ok(os.Rename(r.path(appLog), r.path(old)))
		r.write(appLog, cri("half"))
		l := r.c.loop
		l.scan(true)
		for _, d := range l.roots[0].logs {
			for range 3 { // no time passes
				l.turn(d.chains["0"])
			}
		}
		r.write(old, strings.Replace(cri("first "), " F ", " P ", 1))
	}
	r.want(append(numbers(0, 5), "first half")...)
	r.settled()
	r.noLoss()
}

// A file that was taken as complete is written after all, and looked at before
// what was read of it is acknowledged.
func TestWrittenAfterEnd(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	r.write(appLog, cri(numbers(0, 5)...))
	r.want(numbers(0, 5)...)
	r.settled()
	r.out.mu.Lock()
	r.out.silent = true
	r.out.mu.Unlock()
	r.write(appLog, cri(numbers(5, 6)...))
	r.want(numbers(0, 6)...)
	old := appLog + ".20240501-100000"
	r.ok(os.Rename(r.path(appLog), r.path(old)))
	r.write(appLog, cri(numbers(6, 7)...))
	r.want(numbers(0, 7)...)
	r.write(old, cri(numbers(7, 8)...))
	r.c.loop.asks <- func() { r.c.loop.scan(true) }
	r.want(numbers(0, 8)...)
	r.noLoss()
}

// A log gets the inode of a compressed one that was read and removed, and
// nobody has looked between.
func TestInodeOfGzip(t *testing.T) {
	r := newRig(t, "pods")
	old := appLog + ".20240501-100000"
	r.write(old, cri(numbers(0, 5)...))
	gz(t, r.path(old))
	r.write(appLog, cri(numbers(5, 6)...))
	r.start()
	r.want(numbers(0, 6)...)
	r.until("the compressed one is closed", func() bool { return r.status().OpenFiles == 1 })
	r.c.loop.asks <- func() {
		r.ok(os.WriteFile(r.path(old+".gz"), []byte(cri(numbers(6, 9)...)), 0o644))
		r.ok(os.Rename(r.path(old+".gz"), r.path("ns_pod_uid/app/1.log")))
	}
	r.want(numbers(0, 9)...)
	r.noLoss()
}
