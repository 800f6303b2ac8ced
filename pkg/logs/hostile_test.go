package logs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is in a log file's place and is none is refused, counted, and harms no
// other log.
func TestHostile(t *testing.T) {
	r := newRig(t, "pods")
	secret := filepath.Join(t.TempDir(), "secret")
	r.ok(os.WriteFile(secret, []byte(cri("secret")), 0o600))
	r.write("ns_good_1/app/0.log", cri("good"))
	bad := r.path("ns_bad_2/app")
	r.ok(os.MkdirAll(bad, 0o755))
	r.ok(os.Symlink(secret, bad+"/0.log"))
	r.ok(os.Symlink("/dev/zero", bad+"/1.log"))
	r.ok(os.Symlink("/proc/self/environ", bad+"/2.log"))
	r.ok(unix.Mkfifo(bad+"/3.log", 0o644))
	r.ok(os.Mkdir(bad+"/4.log", 0o755))
	if err := unix.Mknod(bad+"/5.log", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	r.ok(os.Symlink("6.log", bad+"/6.log")) // to itself
	r.ok(os.Symlink(filepath.Dir(secret), r.path("ns_link_3")))
	r.ok(os.Symlink("../../ns_good_1/app/0.log", bad+"/7.log")) // stays within: allowed
	for i := range 20_000 {
		r.ok(os.WriteFile(fmt.Sprintf("%s/junk%d", bad, i), nil, 0o644))
	}
	r.start()
	r.until("both good names are read", func() bool { return len(r.out.values()) == 2 })
	r.write("ns_good_1/app/0.log", cri("more"))
	r.until("and read on", func() bool { return len(r.out.values()) == 4 })
	for _, v := range r.out.values() {
		if v != "good" && v != "more" {
			t.Errorf("sent: %q", v)
		}
	}
	if n := r.status().Refused; n < 5 {
		t.Errorf("%d refused, want 0.log to 5.log", n)
	}
	r.noLoss()
}

// A name is refused for what it is now: a log file that takes it later is read.
func TestRefusedName(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	r.ok(os.MkdirAll(r.path("ns_pod_uid/app"), 0o755))
	for i, make := range []func() error{
		func() error { return unix.Mkfifo(r.path(appLog), 0o644) },
		func() error { return os.Symlink("/etc/passwd", r.path(appLog)) },
	} {
		r.ok(make())
		r.until("it is refused", func() bool { return r.status().Refused > 0 })
		r.ok(os.Remove(r.path(appLog)))
		r.write(appLog, cri(numbers(i, i+1)...))
		r.want(numbers(0, i+1)...)
		r.settled()
		r.ok(os.Remove(r.path(appLog)))
		r.until("it is forgotten", func() bool { return r.status().OpenFiles == 0 })
	}
}

// However many names are refused, the log stays readable.
func TestManyRefused(t *testing.T) {
	r := newRig(t, "pods")
	r.ok(os.MkdirAll(r.path("ns_pod_uid/app"), 0o755))
	for i := range 2 * warnedMax {
		r.ok(unix.Mkfifo(r.path(fmt.Sprintf("ns_pod_uid/app/%d.log", i+1)), 0o600))
	}
	r.write(appLog, cri("good"))
	r.start()
	r.want("good")
	for range 3 {
		r.c.loop.asks <- func() { r.c.loop.scan(true) }
	}
	if n := r.status().Refused; n != warnedMax {
		t.Errorf("%d names were said, want %d", n, warnedMax)
	}
}

func TestOpenLog(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(os.WriteFile(dir+"/file", nil, 0o644))
	ok(os.WriteFile(outside+"/file", nil, 0o644))
	ok(unix.Mkfifo(dir+"/fifo", 0o644))
	ok(os.Symlink("file", dir+"/within"))
	ok(os.Symlink("fifo", dir+"/tofifo"))
	ok(os.Symlink(outside+"/file", dir+"/out"))
	ok(os.Symlink(outside, dir+"/dirout"))
	ok(os.Mkdir(dir+"-beside", 0o755))
	t.Cleanup(func() { os.RemoveAll(dir + "-beside") })
	ok(os.WriteFile(dir+"-beside/file", nil, 0o644))
	for name, want := range map[string]error{
		"file": nil, "within": nil, "fifo": errNotRegular, "tofifo": errNotRegular, ".": errNotRegular,
		"out": errOutside, "dirout/file": errOutside, "../" + filepath.Base(dir) + "-beside/file": errOutside, "none": os.ErrNotExist,
	} {
		f, _, err := openLog(filepath.Join(dir, name), []string{dir})
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
		if f != nil {
			f.Close()
		}
	}
}

// A link may lead to another log directory when it is configured.
func TestLinks(t *testing.T) {
	r := newRig(t, "pods")
	other := t.TempDir()
	r.cfg.Sources[0].Links = []string{other}
	r.ok(os.WriteFile(other+"/x-json.log", []byte(dockerLines("by docker")), 0o644))
	r.ok(os.MkdirAll(r.path("ns_pod_1/app"), 0o755))
	r.ok(os.Symlink(other+"/x-json.log", r.path("ns_pod_1/app/0.log")))
	r.start()
	r.want("by docker")
}

// Whatever is in a file comes out, byte for byte, in order.
func TestGarbage(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var content []byte
	var want []string
	add := func(text string, raw string) {
		content = append(content, raw+"\n"...)
		want = append(want, text)
	}
	for i := range 300 {
		b := make([]byte, random.IntN(3000))
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		b = bytes.ReplaceAll(b, []byte{'\n'}, []byte{0})
		b = bytes.TrimRight(b, "\r")
		add(string(b), string(b))
		for _, s := range []string{"", "\x00", "a\x00b", "\xff\xfe", "tab\t", fmt.Sprint(i)} {
			add(s, strings.TrimSuffix(cri(s), "\n"))
		}
		add("windows", strings.TrimSuffix(cri("windows\r"), "\n"))
	}
	criClock = criClock.Add(-time.Hour) // the clock goes backwards
	add("earlier", strings.TrimSuffix(cri("earlier"), "\n"))
	// A hole, as a writer leaves it whose file was truncated under it.
	add("after a hole", strings.Repeat("\x00", 5000)+strings.TrimSuffix(cri("after a hole"), "\n"))
	// A line larger than a read, in the format and not.
	long := strings.Repeat("0123456789", 50_000)
	add(long, strings.TrimSuffix(cri(long), "\n"))
	add(long, long)
	add("end", strings.TrimSuffix(cri("end"), "\n"))
	r := newRig(t, "pods")
	r.write(appLog, string(content))
	r.start()
	r.want(want...)
	r.settled()
}

// Partial lines of the two streams, interleaved, and over a rotation.
func TestInterleavedPartials(t *testing.T) {
	r := newRig(t, "pods")
	at := func(stream, tag, text string) string {
		criClock = criClock.Add(time.Millisecond)
		return fmt.Sprintf("%s %s %s %s\n", criClock.Format(time.RFC3339Nano), stream, tag, text)
	}
	r.start()
	r.write(appLog, at("stdout", "P", "a1 "), at("stderr", "P", "b1 "), at("stdout", "P", "a2 "), at("stderr", "F", "b2"), at("stderr", "P", "c1 "))
	r.want("b1 b2")
	r.ok(os.Rename(r.path(appLog), r.path(appLog+".20240501-100000")))
	r.write(appLog, at("stderr", "F", "c2"), at("stdout", "P", "a3 "))
	r.want("b1 b2", "c1 c2")
	// A crash here, and the whole line must come.
	r.settledBut(1)
	r.stop()
	r.write(appLog, at("stdout", "F", "a4"), at("stdout", "P", "no end"))
	r.start()
	r.want("b1 b2", "c1 c2", "a1 a2 a3 a4")
	r.ok(os.RemoveAll(r.path("ns_pod_uid")))
	r.want("b1 b2", "c1 c2", "a1 a2 a3 a4", "no end")
	r.noLoss()
}

// settledBut waits until n containers wait for the rest of a line.
func (r *rig) settledBut(n int) {
	r.t.Helper()
	r.until("containers wait", func() bool {
		lag := 0
		for _, c := range r.status().Containers {
			if c.LagBytes > 0 {
				lag++
			}
		}
		return lag == n && r.status().BufferedBytes == 0
	})
}

// The end of a line that never comes is not waited for for ever.
func TestPartialTimeout(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.PartialTimeout = 200 * 1000 * 1000
	r.start()
	r.write(appLog, "2024-05-01T10:00:00Z stdout P password: \n")
	r.want("password: ")
	r.settled()
}

// Acknowledgements that come in any order never move progress past what is not
// acknowledged.
func TestProgressIsContiguous(t *testing.T) {
	r := newRig(t, "pods")
	r.start()
	r.write(appLog, cri(numbers(0, 10)...))
	r.want(numbers(0, 10)...)
	r.settled()
	r.out.mu.Lock()
	r.out.silent = true
	r.out.mu.Unlock()
	for i := 10; i < 30; i++ {
		r.write(appLog, cri(numbers(i, i+1)...))
		r.want(numbers(0, i+1)...)
	}
	// All but the first of the chunks are acknowledged, and time passes.
	r.out.mu.Lock()
	first, rest := r.out.waiting[0], r.out.waiting[1:]
	r.out.waiting = nil
	r.out.mu.Unlock()
	for _, c := range slices.Backward(rest) {
		c.Done(c)
	}
	r.write(appLog, cri("line 30")) // and reading goes on
	r.want(numbers(0, 31)...)
	time.Sleep(1200 * time.Millisecond)
	r.stop()
	_ = first // never acknowledged
	r.out.mu.Lock()
	r.out.silent = false
	r.out.mu.Unlock()
	r.start()
	r.want(append(numbers(0, 31), numbers(10, 31)...)...)
	// And the positions of those that came twice are the same.
	seen := map[string]string{}
	for _, g := range r.out.got {
		if v, ok := seen[g.position]; ok && v != g.value {
			t.Errorf("position %s is that of %q and %q", g.position, v, g.value)
		}
		seen[g.position] = g.value
	}
	if len(seen) != 31 {
		t.Errorf("%d positions of 31 lines", len(seen))
	}
}

// The disk is full under the checkpoint: delivery goes on, and progress is
// written when there is room again.
func TestCheckpointDiskFull(t *testing.T) {
	r := newRig(t, "pods")
	r.ok(os.MkdirAll(r.state, 0o700))
	if err := unix.Mount("tmpfs", r.state, "tmpfs", 0, "size=64k"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("needs root: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(r.state, unix.MNT_DETACH) })
	t.Cleanup(r.stop) // before that
	r.start()
	r.write(appLog, cri(numbers(0, 10)...))
	r.want(numbers(0, 10)...)
	r.until("a checkpoint is there", func() bool { return !r.status().CheckpointAt.IsZero() && !r.status().CheckpointPending })
	r.ok(os.WriteFile(r.state+"/ballast", make([]byte, 40<<10), 0o600))
	f, err := os.OpenFile(r.state+"/ballast", os.O_WRONLY|os.O_APPEND, 0)
	r.ok(err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	r.write(appLog, cri(numbers(10, 20)...))
	r.want(numbers(0, 20)...)
	r.until("the failure is counted", func() bool { return r.status().CheckpointErrors > 0 })
	if s := r.status(); s.PendingSince.IsZero() || s.PendingSince.Before(s.CheckpointAt) {
		t.Errorf("progress waits since %v, and was last written at %v", s.PendingSince, s.CheckpointAt)
	}
	r.ok(os.Remove(r.state + "/ballast"))
	r.until("it is written again", func() bool { return r.status().PendingSince.IsZero() })
	r.stop()
	r.start()
	r.write(appLog, cri(numbers(20, 21)...))
	r.want(numbers(0, 21)...)
}

// A damaged checkpoint is set aside, and the one before it and the files'
// first lines say where to go on.
func TestCheckpointDamaged(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.Checkpoint = 20 * 1000 * 1000
	r.write(appLog, cri(numbers(0, 10)...))
	r.start()
	r.want(numbers(0, 10)...)
	r.settled()
	r.until("it is written", func() bool { return !r.status().CheckpointPending })
	r.stop() // writes it again: the one before says the same
	path := filepath.Join(r.state, "logs", "checkpoint")
	data, err := os.ReadFile(path)
	r.ok(err)
	r.ok(os.WriteFile(path, data[:len(data)/2], 0o600))
	r.start()
	r.write(appLog, cri(numbers(10, 11)...))
	r.want(numbers(0, 11)...)
	if !r.status().CheckpointDamaged {
		t.Error("nobody says that the checkpoint was damaged")
	}
	if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != 1 {
		t.Errorf("set aside: %v", aside)
	}
}
