package shim_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Tests of what docs/runtimes.md says the shim does not reach, and of the
// remedies it names.

// A function looked up in the libc itself is the libc's.
func TestFunctionOfTheLibcsHandle(t *testing.T) {
	real := len(cpuList(realCPUs(t)))
	inWorlds(t, func(t *testing.T, w world) {
		b := sized(t)
		b.preload = w.install(t)
		if got, want := run(t, w.command(t, b, w.compile(t, "handle.c"))), fmt.Sprintf("%d 77\n", real); got != want {
			t.Errorf("the libc's handle, then the program's: %q, want %q", got, want)
		}
	})
}

// A program that was given no environment has no shim, nor a message of it.
func TestClearedEnvironment(t *testing.T) {
	w := worlds()[0]
	b := sized(t)
	b.preload = w.install(t)
	want := fmt.Sprintf("0 %d\n", len(cpuList(realCPUs(t))))
	if got := run(t, w.command(t, b, "env", "-i", w.compile(t, "setuid.c"))); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A program with file capabilities is as a set-user-ID one: its loader
// distrusts the environment of a user who has fewer.
func TestFileCapabilities(t *testing.T) {
	needRoot(t)
	need(t, "setpriv")
	w := worlds()[0]
	data, err := os.ReadFile(w.compile(t, "setuid.c"))
	if err != nil {
		t.Fatal(err)
	}
	program := writeShared(t, "capable", data)
	// struct vfs_cap_data of <linux/capability.h>, version 2: effective, and
	// CAP_NET_BIND_SERVICE (10) permitted.
	capabilities := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if err := unix.Setxattr(program, "security.capability", capabilities, 0); err != nil {
		t.Fatal(err)
	}
	b := sized(t)
	b.preload = w.install(t)
	want := fmt.Sprintf("1 %d\n", len(cpuList(realCPUs(t))))
	if got := run(t, w.command(t, b, "setpriv", "--reuid=65534", "--clear-groups", program)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// AddressSanitizer's runtime wants to be the first library, and ends the
// program when it is not, unless it is told otherwise.
func TestAddressSanitizer(t *testing.T) {
	w := worlds()[0]
	program := w.compile(t, "setuid.c", "-fsanitize=address")
	b := sized(t)
	b.preload = w.install(t)
	out, err := w.command(t, b, program).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "ASan runtime does not come first") {
		t.Errorf("error %v, %q: it no longer needs an exception", err, out)
	}
	b.env = append(b.env, "ASAN_OPTIONS=verify_asan_link_order=0")
	if got := run(t, w.command(t, b, program)); got != "0 77\n" {
		t.Errorf("told not to look, got %q, want 77 CPUs", got)
	}
	if got := run(t, w.command(t, b, w.compile(t, "setuid.c", "-fsanitize=address", "-static-libasan"))); got != "0 77\n" {
		t.Errorf("with the runtime linked in, got %q, want 77 CPUs", got)
	}
}

// In another root directory glibc says that the shim is not there, and goes
// on; so does musl, in silence.
func TestAnotherRoot(t *testing.T) {
	real := len(cpuList(realCPUs(t)))
	for _, w := range worlds()[:2] {
		t.Run(w.name, func(t *testing.T) {
			root := t.TempDir()
			program := w.compile(t, "setuid.c")
			loader := map[string]string{"glibc": "/lib64/ld-linux-x86-64.so.2", "musl": "/lib/ld-musl-x86_64.so.1"}[w.name]
			for path, as := range map[string]string{program: "/program", loader: loader, "/lib/x86_64-linux-gnu/libc.so.6": "/lib/x86_64-linux-gnu/libc.so.6"} {
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				to := filepath.Join(root, as)
				if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(to, data, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			b := sized(t)
			b.preload = w.install(t)
			out, err := w.command(t, b, "chroot", root, "/program").Output()
			if want := fmt.Sprintf("0 %d\n", real); err != nil || string(out) != want {
				t.Errorf("error %v, got %q, want %q", err, out, want)
			}
		})
	}
}
