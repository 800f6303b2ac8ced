package attach

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHostile(t *testing.T) {
	needRoot(t)
	dir, _ := startView(t)
	tests := []struct {
		name string
		do   []string // by the container, before
		want error    // for /proc/meminfo
	}{
		{"tmpfs as /proc", []string{"tmpfs /proc", "write /proc/meminfo"}, ErrNotGenuine},
		{"symlinks in a tmpfs as /proc", []string{"tmpfs /proc", "symlink /etc/hostname /proc/meminfo"}, ErrNotGenuine},
		{"directory of a procfs as /proc", []string{"bind /proc/sys /proc"}, ErrNotGenuine},
		{"symlink as /proc", []string{"tmpfs /mnt", "mkdir /mnt/root/real", "procfs /mnt/root/real",
			"symlink real /mnt/root/proc", "bind /mnt/root /mnt/root", "chroot /mnt/root"}, ErrNotGenuine},
		{"file over the target", []string{"tmpfs /mnt", "write /mnt/f", "bind /mnt/f /proc/meminfo"}, ErrOwnMount},
		{"secret file of procfs over the target", []string{"bind /proc/kmsg /proc/meminfo"}, ErrOwnMount},
		{"file system that never answers over the target", []string{"hangfile /proc/meminfo"}, ErrOwnMount},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := startContainer(t)
			for _, line := range test.do {
				c.must(line)
			}
			results, err := attacherOf(dir).Attach(t.Context(), c.process(), filesOf(dir, "c1"))
			if err != nil {
				t.Fatal(err)
			}
			wantRefused(t, results, "/proc/meminfo", test.want)
		})
	}
}

func TestOwnMountAboveTarget(t *testing.T) {
	needRoot(t)
	dir, _ := startView(t)
	c := startContainer(t)
	c.must("tmpfs /proc/pressure")
	c.must("write /proc/pressure/cpu")
	c.must("tmpfs /sys/devices/system/cpu")
	results, err := attacherOf(dir).Attach(t.Context(), c.process(), filesOf(dir, "c1"))
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, results, "/proc/pressure/cpu", ErrOwnMount)
	wantRefused(t, results, "/sys/devices/system/cpu/online", ErrOwnMount)
	if got := outcomes(results)["/proc/meminfo"]; got != Attached {
		t.Errorf("/proc/meminfo: %s, want %s", got, Attached)
	}
	if got := c.do("read /proc/pressure/cpu"); got != "forged\n" {
		t.Errorf("the container's own file reads %q", got)
	}
}

// A container whose file system never answers costs a bounded wait and one
// thread, and is not tried again while that thread waits.
func TestHangingFileSystem(t *testing.T) {
	needRoot(t)
	dir, _ := startView(t)
	c := startContainer(t)
	c.must("hang /proc other")
	a := New(Options{RunDir: filepath.Dir(dir), Timeout: 200 * time.Millisecond})
	p := c.process()
	p.StartTicks = 0
	results, err := a.Attach(t.Context(), p, filesOf(dir, "c1"))
	if err == nil {
		// The mount table told it before the file system was asked.
		wantRefused(t, results, "/proc/meminfo", ErrNotGenuine)
	} else if !errors.Is(err, ErrStuck) {
		t.Fatal(err)
	}
}

func TestStuckNamespaceIsNotEnteredTwice(t *testing.T) {
	needRoot(t)
	c := startContainer(t)
	a := New(Options{Timeout: 50 * time.Millisecond})
	release := make(chan struct{})
	hang := func(*namespace) ([]Result, error) { <-release; return nil, nil }
	if _, err := a.enter(t.Context(), c.process(), hang, nil); !errors.Is(err, ErrStuck) {
		t.Fatalf("a thread that hangs: %v, want %v", err, ErrStuck)
	}
	entered := false
	if _, err := a.enter(t.Context(), c.process(), func(*namespace) ([]Result, error) { entered = true; return nil, nil }, nil); !errors.Is(err, ErrStuck) || entered {
		t.Fatalf("a second thread: %v, entered %t, want %v", err, entered, ErrStuck)
	}
	close(release)
	waitFor(t, "end of the first thread", func() bool {
		_, err := a.Detach(t.Context(), c.process(), nil)
		return err == nil
	})
}

// A mount in a container must not appear on the host, whatever the container
// shares with it.
func TestPropagationToTheHost(t *testing.T) {
	needRoot(t)
	dir, _ := startView(t)
	// The host shares a procfs with the container, by a volume with
	// bidirectional propagation.
	proc := filepath.Join(t.TempDir(), "proc")
	if err := os.Mkdir(proc, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("proc", proc, "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(proc, unix.MNT_DETACH) })
	if err := unix.Mount("", proc, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	c := startSharing(t)
	c.must("bind " + proc + " /proc")
	results, err := attacherOf(dir).Attach(t.Context(), c.process(), filesOf(dir, "c1"))
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, results, "/proc/meminfo", ErrPropagates)
	data, err := os.ReadFile(filepath.Join(proc, "meminfo"))
	if err != nil || !strings.HasPrefix(string(data), "MemTotal:") {
		t.Errorf("the host's procfs reads %.80q, %v", data, err)
	}

	// Shared with nobody but itself, as under an init in the container, is
	// allowed.
	c = startContainer(t)
	c.must("shared /proc")
	results, err = attacherOf(dir).Attach(t.Context(), c.process(), filesOf(dir, "c1"))
	if err != nil || outcomes(results)["/proc/meminfo"] != Attached {
		t.Errorf("a /proc shared within the container: %v, %v", results, err)
	}
}
