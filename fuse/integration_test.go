package fuse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// generous is how long something may take before a test gives up on it.
const generous = 20 * time.Second

// mounted serves s on a mount of its own and returns where.
func mounted(t *testing.T, s *Server) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	dir := t.TempDir()
	fd, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(context.Background(), fd) }()
	t.Cleanup(func() {
		if err := Detach(dir); err != nil {
			t.Error(err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(generous):
			t.Error("Serve does not end with the mount")
		}
		unix.Close(fd)
		if n := s.stats.panics.Load(); n != 0 {
			t.Errorf("%d requests panicked", n)
		}
	})
	return dir
}

// lines renders so many lines of 64 bytes, each with the snapshot's number.
type lines struct {
	n        atomic.Int64 // snapshots
	count    atomic.Int64 // lines
	constant bool
}

func newLines(count int) *lines {
	l := new(lines)
	l.count.Store(int64(count))
	return l
}

func (l *lines) Render(dst []byte, _ int) ([]byte, error) {
	n := l.n.Add(1)
	if l.constant {
		n = 1
	}
	for i := range l.count.Load() {
		dst = fmt.Appendf(dst, "%012d %050d\n", n, i)
	}
	return dst, nil
}

func put(t *testing.T, s *Server, id string, c Content) {
	t.Helper()
	if err := s.Put(id, c); err != nil {
		t.Fatal(err)
	}
}

// hammering runs a reader of many threads while work is done.
func hammering(t *testing.T, job string, work func(), files ...string) report {
	t.Helper()
	cmd := reader(t, job, files...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	work()
	stdin.Close()
	out, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return parseReport(t, out)
}

func (r report) clean() bool {
	return r.Empty+r.NUL+r.Cut+r.Mixed+len(r.Errors) == 0
}

func (r report) String() string {
	return fmt.Sprintf("%d reads: %d empty, %d with NUL bytes, %d cut, %d of mixed snapshots, errors %v; %.200q",
		r.Reads, r.Empty, r.NUL, r.Cut, r.Mixed, r.Errors, r.Bad)
}

// rollovers waits until l has rendered n more snapshots.
func rollovers(t *testing.T, l *lines, n int64) {
	t.Helper()
	deadline := time.Now().Add(generous)
	for until := l.n.Load() + n; l.n.Load() < until; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d snapshots in %v", l.n.Load(), generous)
		}
	}
}

func TestReadersSeeWholeSnapshots(t *testing.T) {
	for _, job := range []string{"hammer", "bursts"} {
		for _, pages := range []int{1, 3} {
			t.Run(fmt.Sprint(job, " ", pages, " pages"), func(t *testing.T) {
				s := newServer(t, File{Path: "proc/meminfo", Freshness: time.Millisecond})
				dir, l := mounted(t, s), newLines(64*pages-20)
				put(t, s, "c1", l)
				r := hammering(t, job, func() { rollovers(t, l, 150) }, dir+"/c1/proc/meminfo")
				if !r.clean() || r.Reads == 0 {
					t.Error(r)
				}
			})
		}
	}
}

func TestEveryWayToRead(t *testing.T) {
	s := newServer(t, File{Path: "proc/meminfo", Freshness: time.Hour}, File{Path: "proc/cpuinfo"}, File{Path: "proc/uptime", Freshness: time.Hour})
	dir := mounted(t, s)
	for id, count := range map[string]int{"small": 1, "page": 64, "large": 1000} {
		l := newLines(count)
		l.constant = true
		put(t, s, id, l)
		want, _ := l.Render(nil, 0)
		for _, how := range []string{"whole", "pieces", "pread", "mmap", "sendfile", "direct"} {
			for _, f := range []string{"meminfo", "cpuinfo", "uptime"} {
				r := runReader(t, how, filepath.Join(dir, id, "proc", f))
				if string(r.Data) != string(want) {
					t.Errorf("%s of %s/%s: %d bytes, want %d: %v", how, id, f, len(r.Data), len(want), r)
				}
			}
		}
	}
}

// Reads within the bound are the kernel's business alone.
func TestReadsWithinTheBoundSendNothing(t *testing.T) {
	s := newServer(t, File{Path: "proc/meminfo", Freshness: time.Hour}, File{Path: "proc/cpuinfo"})
	dir, l := mounted(t, s), newLines(20)
	put(t, s, "c1", l)
	files := []string{dir + "/c1/proc/meminfo", dir + "/c1/proc/cpuinfo"}
	runReader(t, "whole", files...)
	before := s.total()
	many := make([]string, 0, 1000)
	for range 500 {
		many = append(many, files...)
	}
	if r := runReader(t, "whole", many...); !r.clean() || r.Reads != 1000 {
		t.Error(r)
	}
	// Some are of the directories on the way, once a second.
	if after := s.total(); after > before+10 {
		t.Errorf("1000 reads sent %d requests", after-before)
	}
}

// total is the number of requests.
func (s *Server) total() (n uint64) {
	for i := range s.stats.requests {
		n += s.stats.requests[i].Load()
	}
	return n
}

func TestFiftyContainers(t *testing.T) {
	s := newServer(t, File{Path: "proc/meminfo", Freshness: time.Millisecond})
	dir := mounted(t, s)
	var files []string
	for i := range 50 {
		id := fmt.Sprintf("c%02d", i)
		put(t, s, id, named(id))
		files = append(files, filepath.Join(dir, id, "proc/meminfo"))
	}
	var wg sync.WaitGroup
	for i, f := range files {
		wg.Go(func() {
			r := runReader(t, "whole", f, f, f, f, f, f, f, f, f, f)
			want := strings.Repeat(fmt.Sprintf("c%02d is its name\n", i), 10)
			if string(r.Data) != want || !r.clean() {
				t.Errorf("%s: %.100q, %v", f, r.Data, r)
			}
		})
	}
	wg.Wait()
}

type named string

func (n named) Render(dst []byte, _ int) ([]byte, error) {
	return append(append(dst, n...), " is its name\n"...), nil
}

func TestResizeUnderReaders(t *testing.T) {
	s := newServer(t, File{Path: "proc/stat", Freshness: 5 * time.Millisecond}, File{Path: "proc/cpuinfo"})
	dir, l := mounted(t, s), newLines(20)
	put(t, s, "c1", l)
	files := []string{dir + "/c1/proc/stat", dir + "/c1/proc/cpuinfo"}
	r := hammering(t, "hammer", func() {
		for i := range 60 {
			l.count.Store([]int64{20, 30, 63, 100, 10}[i%5])
			put(t, s, "c1", l)
			rollovers(t, l, 4)
		}
	}, files...)
	// A file that grows between two read(2)s of one reader goes on where the
	// first ended, as any file does: that is mixed. One that shrinks under a
	// reader's page is cut, which is as rare as that moment is short.
	if r.Empty+r.NUL+len(r.Errors) > 0 || r.Reads == 0 || r.Cut > r.Reads/1000 {
		t.Error(r)
	}
	// What was changed is seen at once, also in a file that never expires.
	l.count.Store(40)
	put(t, s, "c1", l)
	deadline := time.Now().Add(generous)
	for _, f := range files {
		for len(runReader(t, "whole", f).Data) != 40*64 {
			if time.Now().After(deadline) {
				t.Fatalf("%s keeps its size", f)
			}
		}
	}
}

func TestRemovalUnderReaders(t *testing.T) {
	s := newServer(t, File{Path: "proc/stat", Freshness: time.Millisecond}, File{Path: "proc/cpuinfo"})
	dir, l := mounted(t, s), newLines(20)
	put(t, s, "c1", l)
	files := []string{dir + "/c1/proc/stat", dir + "/c1/proc/cpuinfo"}
	r := hammering(t, "hammer", func() {
		for range 100 {
			put(t, s, "c1", l)
			rollovers(t, l, 2)
			s.Remove("c1")
		}
	}, files...)
	for name := range r.Errors {
		if name != "ENOENT" && name != "ESTALE" {
			t.Errorf("errno %s", name)
		}
	}
	r.Errors = nil
	if !r.clean() {
		t.Error(r)
	}
	if r := runReader(t, "whole", files...); r.Errors["ENOENT"] != 2 {
		t.Errorf("after the removal: %v", r)
	}
}

// An id that was looked up in vain is found once it is there: at once, by
// whoever knows it first.
func TestUnknownIDIsNotRemembered(t *testing.T) {
	known := make(map[string]bool)
	var mu sync.Mutex
	s := newServer(t, File{Path: "proc/stat", Freshness: time.Hour})
	s.opts.Find = func(id string) bool {
		mu.Lock()
		defer mu.Unlock()
		return known[id] && s.Put(id, named(id)) == nil
	}
	dir := mounted(t, s)
	for _, id := range []string{"later", ".go-fuse-epoll-hack", "..x", "a b"} {
		if r := runReader(t, "whole", filepath.Join(dir, id, "proc/stat")); r.Errors["ENOENT"] != 1 {
			t.Errorf("%s: %v", id, r)
		}
	}
	mu.Lock()
	known["later"] = true
	mu.Unlock()
	for range 2 {
		if r := runReader(t, "whole", dir+"/later/proc/stat"); !r.clean() {
			t.Error(r)
		}
	}
	if r := runReader(t, "whole", dir+"/later/proc/none", dir+"/later/proc/stat/x", dir+"/later/proc"); r.Errors["ENOENT"] != 1 || r.Errors["ENOTDIR"] != 1 || r.Errors["EISDIR"] != 1 {
		t.Error(r)
	}
}

func TestListing(t *testing.T) {
	s := newServer(t, File{Path: "proc/stat", Freshness: time.Hour}, File{Path: "proc/meminfo", Freshness: time.Hour}, File{Path: "sys/devices/online"})
	dir := mounted(t, s)
	var want []string
	for i := range 500 {
		id := fmt.Sprintf("container-%03d", i)
		put(t, s, id, named(id))
		want = append(want, id)
	}
	ls := func(args ...string) string {
		out, err := exec.Command("ls", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ls %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got := strings.Fields(ls(dir)); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("ls shows %d names, want %d", len(got), len(want))
	}
	got := ls("-AR", filepath.Join(dir, "container-007"))
	if got != strings.ReplaceAll("D:\nproc\nsys\n\nD/proc:\nmeminfo\nstat\n\nD/sys:\ndevices\n\nD/sys/devices:\nonline", "D", filepath.Join(dir, "container-007")) {
		t.Errorf("ls -AR: %s", got)
	}
	if got := ls("-l", dir+"/container-007/proc/stat"); !strings.HasPrefix(got, "-r--r--r-- 1 root root 26 ") {
		t.Errorf("ls -l: %s", got)
	}
	// A container that comes and one that goes, while the listing is cached.
	put(t, s, "another", named("another"))
	s.Remove("container-000")
	deadline := time.Now().Add(generous)
	for {
		got := strings.Fields(ls(dir))
		if len(got) == 500 && got[0] == "another" && got[1] == "container-001" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the listing does not follow: %d names, %v", len(got), got[:2])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestNothingCanBeWritten(t *testing.T) {
	s := newServer(t, File{Path: "proc/meminfo", Freshness: time.Hour})
	dir, l := mounted(t, s), newLines(20)
	put(t, s, "c1", l)
	if f, err := os.OpenFile(dir+"/c1/proc/meminfo", os.O_RDWR, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("opened for writing: %v, %v; want EROFS", f, err)
	}
	// The server refuses all of it by itself: an earlier version's mount, which
	// outlives its server, was not read-only.
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	got := runReader(t, "write", dir+"/c1/proc/meminfo").Errors
	for what, n := range map[string]string{
		"write": "EROFS", "ftruncate": "EROFS", "ioctl": "ENOTTY", "truncate": "EROFS",
		"create": "EROFS", "mkdir": "EROFS", "mknod": "EROFS", "symlink": "EROFS", "link": "EROFS",
		"rename": "EROFS", "unlink": "EROFS", "rmdir": "EROFS", "chmod": "EROFS", "chown": "EROFS",
		"setxattr": "ENOTSUP", "getxattr": "ENOTSUP", "listxattr": "ENOTSUP", "readlink": "EINVAL",
	} {
		if got[what+" "+n] != 1 {
			t.Errorf("%s is not refused with %s: %v", what, n, got)
		}
	}
	if r := runReader(t, "whole", dir+"/c1/proc/meminfo"); !r.clean() {
		t.Error(r)
	}
}

// newborn is of a container that has not started while wait is not 0.
type newborn struct {
	*lines
	wait   atomic.Int64
	length int
}

func (n *newborn) Unstarted() time.Duration { return time.Duration(n.wait.Load()) }
func (n *newborn) Length(int) int           { return n.length }
func (n *newborn) Begun()                   { n.wait.Store(0) }

// Until a container starts its files are not rendered to be looked at, nor does
// the kernel ask for them again: its runtime mounts them.
func TestUnstarted(t *testing.T) {
	const (
		bound  = 10 * time.Millisecond
		length = 64 // of newLines(1)
	)
	for _, tt := range []struct {
		name   string
		length int
		begin  func(s *Server, n *newborn, file string)
	}{
		{"told of its start", length, func(s *Server, n *newborn, file string) {
			n.wait.Store(0)
			s.Started("unknown")
			s.Started("c1")
		}},
		{"read", length, func(s *Server, n *newborn, file string) {
			known := n.n.Load()
			if got := snapshotOf(t, file); got != known+1 {
				t.Errorf("read: snapshot %d, want a new one after %d", got, known)
			}
		}},
		{"of a length that only rendering tells, read", 0, func(s *Server, n *newborn, file string) {
			known := n.n.Load()
			if got := snapshotOf(t, file); got != known+1 {
				t.Errorf("read: snapshot %d, want a new one after %d", got, known)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, File{Path: "proc/uptime", Freshness: bound})
			dir, n := mounted(t, s), &newborn{lines: newLines(1), length: tt.length}
			served(t, dir) // it renders what it begins with
			n.wait.Store(int64(time.Hour))
			put(t, s, "c1", n)
			file := dir + "/c1/proc/uptime"
			for range 2 {
				if fi, err := os.Stat(file); err != nil || fi.Size() != length {
					t.Fatal(fi, err)
				}
				time.Sleep(2 * bound)
			}
			if got := n.n.Load(); got != int64(length-tt.length)/length {
				t.Errorf("looked at: rendered %d times", got)
			}
			tt.begin(s, n, file)
			known := n.n.Load()
			for deadline := time.Now().Add(generous); n.n.Load() == known; time.Sleep(2 * bound) {
				if snapshotOf(t, file); time.Now().After(deadline) {
					t.Fatal("the kernel keeps what it has after the start")
				}
			}
			known = n.n.Load()
			time.Sleep(2 * bound)
			if got := snapshotOf(t, file); got <= known {
				t.Errorf("after the start and the bound: snapshot %d, %d was there before", got, known)
			}
		})
	}
}

// The first snapshot is the one that was announced: the kernel keeps its page.
func TestAnnouncedMtime(t *testing.T) {
	n := &newborn{lines: newLines(1), length: 64}
	n.wait.Store(int64(2 * time.Hour))
	s := newServer(t, File{Path: "proc/uptime", Freshness: time.Hour})
	dir := mounted(t, s)
	served(t, dir)
	put(t, s, "c1", n)
	file := dir + "/c1/proc/uptime"
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	snapshotOf(t, file)
	time.Sleep(50 * time.Millisecond) // the kernel is told that it has to ask
	reads := s.stats.requests[opRead].Load()
	snapshotOf(t, file)
	after, err := os.Stat(file)
	if err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("mtime %v, announced %v; %v", after.ModTime(), before.ModTime(), err)
	}
	if got := s.stats.requests[opRead].Load(); got != reads {
		t.Errorf("read again: %d READs, the page was there", got-reads)
	}
}

// served waits until the server serves.
func served(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir + "/.truesize/version"); err != nil {
		t.Fatal(err)
	}
}

// snapshotOf reads the number of the snapshot that a file of lines shows.
func snapshotOf(t *testing.T, file string) (n int64) {
	t.Helper()
	data, err := os.ReadFile(file)
	if _, serr := fmt.Sscan(string(data), &n); err != nil || serr != nil {
		t.Fatalf("%q, %v", data, err)
	}
	return n
}

// Reading the version asks the server, every time.
func TestVersionIsNeverCached(t *testing.T) {
	s := newServer(t, File{Path: "a"})
	dir := mounted(t, s)
	for range 3 {
		before := s.stats.requests[opGetattr].Load()
		if r := runReader(t, "whole", dir+"/.truesize/version"); string(r.Data) != "v1\n" {
			t.Errorf("%q, %v", r.Data, r)
		}
		if s.stats.requests[opGetattr].Load() == before {
			t.Error("the server was not asked")
		}
	}
}
