package shim_test

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/registry"
)

// sized is a page of a size that is no machine's of these tests.
func sized(t *testing.T) box {
	t.Helper()
	return box{page: newPage(t, registry.SizePage{CPUs: 77, InjectedCPUs: 77, Memory: 77 * gib}), env: []string{"NUM_CPUS=77"}}
}

func TestFirstCallInAnyContext(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		for _, context := range []string{
			"fork", "vfork", "thread", "signal", "fork thread signal", "thread fork", "vfork thread", "signal fork",
		} {
			t.Run(context, func(t *testing.T) {
				p := w.probe(t, sized(t))
				p.want(context+" nprocs", 77)
				p.want(context+" sysconf 84", "77 errno 0")
				p.want("nprocs", 77)
			})
		}
	})
}

// After the first, an answer takes no system call: any would be fatal in
// seccomp's strict mode; qemu emulates none.
func TestAnswersWithoutSystemCalls(t *testing.T) {
	for _, w := range worlds()[:2] {
		t.Run(w.name, func(t *testing.T) {
			p := w.probe(t, sized(t))
			p.wantCPUs(77)
			p.want("phys_pages", 77*gib/4096)
			p.want("fork strict nprocs", "77")
			p.want("fork strict jvm", "77")
			p.want("fork strict sysconf 84", "77 errno 0")
			p.want("fork strict phys_pages", 77*gib/4096)

			p = w.probe(t, box{env: []string{"NUM_CPUS=77"}}) // nor is a page looked for again
			p.want("nprocs", 77)
			p.want("fork strict nprocs", 77)
		})
	}
}

// A seccomp profile that refuses a system call the shim makes costs what
// depends on it, and nothing else.
func TestSystemCallsRefused(t *testing.T) {
	real := format(cpuList(realCPUs(t)))
	for _, tt := range []struct {
		name    string
		number  int
		command string // what depends on the call
		want    string
	}{
		{"openat", unix.SYS_OPENAT, "nprocs", "77"}, // from NUM_CPUS
		{"lseek", unix.SYS_LSEEK, "nprocs", "77"},
		{"mmap", unix.SYS_MMAP, "nprocs", "77"},
		{"tgkill", unix.SYS_TGKILL, "getaffinity tid", real}, // whose it is cannot be told
		{"sched_getaffinity", unix.SYS_SCHED_GETAFFINITY, "getaffinity self", "errno 1"},
		{"sched_setaffinity", unix.SYS_SCHED_SETAFFINITY, "setaffinity 0", "errno 1"},
		{"sysinfo", unix.SYS_SYSINFO, "sysinfo", "errno 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, w := range worlds()[:2] { // qemu emulates no seccomp
				p := w.probe(t, sized(t))
				p.want(fmt.Sprintf("deny %d", tt.number), 0)
				p.want(tt.command, tt.want)
				p.wantCPUs(77)
			}
		})
	}
}

func TestPageStaysAfterChroot(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		b := sized(t)
		b.env = nil
		p := w.probe(t, b)
		p.want("nprocs", 77)
		p.want("chroot "+t.TempDir(), 0)
		p.want("nprocs", 77)
	})
}

func TestUserNamespace(t *testing.T) {
	need(t, "unshare")
	w := worlds()[0]
	b := sized(t)
	b.preload = w.install(t)
	cmd := w.command(t, b, "unshare", "--user", "--map-root-user", "--mount", w.compile(t, "setuid.c"))
	if got := run(t, cmd); got != "0 77\n" {
		t.Errorf("got %q, want 77 CPUs and no message", got)
	}
}

func TestProgramsLeftAlone(t *testing.T) {
	real := fmt.Sprint(len(cpuList(realCPUs(t))))
	inWorlds(t, func(t *testing.T, w world) {
		t.Run("static", func(t *testing.T) {
			b := sized(t)
			b.preload = w.install(t)
			if got := run(t, w.command(t, b, w.compile(t, "setuid.c", "-static"))); got != "0 "+real+"\n" {
				t.Errorf("got %q, want the node's %s CPUs", got, real)
			}
		})
		t.Run("setuid", func(t *testing.T) {
			if len(w.runner) > 0 {
				t.Skip("an emulated program is not set-user-id")
			}
			needRoot(t)
			data, err := os.ReadFile(w.compile(t, "setuid.c"))
			if err != nil {
				t.Fatal(err)
			}
			program := writeShared(t, "setuid", data)
			if err := os.Chown(program, 65534, 65534); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(program, os.ModeSetuid|0o755); err != nil {
				t.Fatal(err)
			}
			b := sized(t)
			b.preload = w.install(t)
			if got := run(t, w.command(t, b, program)); got != "1 "+real+"\n" {
				t.Errorf("got %q, want the node's %s CPUs and no message", got, real)
			}
		})
	})
}

// A program without a libc starts, and its questions are answered too.
func TestProgramWithoutLibc(t *testing.T) {
	loaders := map[string]string{
		"glibc": "/lib64/ld-linux-x86-64.so.2", "musl": "/lib/ld-musl-x86_64.so.1", "arm64": "/lib/ld-linux-aarch64.so.1",
	}
	inWorlds(t, func(t *testing.T, w world) {
		cc := w
		if w.name == "musl" {
			cc.cc = "gcc" // musl-gcc adds its libc
		}
		program := cc.compile(t, "nolibc.c", "-nostdlib", "-pie", "-fPIE", "-Wl,--dynamic-linker="+loaders[w.name])
		b := sized(t)
		b.preload = w.install(t)
		err := w.command(t, b, program).Run()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 77 {
			t.Errorf("got %v, want exit status 77", err)
		}
	})
}

// A 32-bit program cannot load the shim; it must run as before.
func TestProgramOf32Bits(t *testing.T) {
	const loader = "/lib/ld-linux.so.2"
	if _, err := os.Stat(loader); err != nil {
		skip(t, "%v: install the packages of test/packages.txt", err)
	}
	w := worlds()[0]
	program := w.compile(t, "nolibc.c", "-m32", "-nostdlib", "-pie", "-fPIE", "-Wl,--dynamic-linker="+loader)
	b := sized(t)
	b.preload = w.install(t)
	err := w.command(t, b, program).Run()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 100 {
		t.Errorf("got %v, want exit status 100", err)
	}
}

// The user's own preloaded library keeps its place before the shim, and each
// reaches the next.
func TestBesideAnotherPreload(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		neighbour := w.compile(t, "neighbour.c", "-shared", "-fPIC")
		for _, order := range []string{"%[1]s:%[2]s", "%[2]s:%[1]s", "%[1]s %[2]s"} {
			b := sized(t)
			b.preload = fmt.Sprintf(order, neighbour, w.install(t))
			p := w.bareProbe(t, b)
			p.want("sysconf 84", "77 errno 0")
			p.want("sysconf 9999", "4321 errno 0")
			p.want("sysconf 30", "4096 errno 0")
		}
	})
}

// A library after the shim that has a variable of a function's name is passed
// over.
func TestBesideVariable(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		want := w.bareProbe(t, box{}).ask("nprocs_conf")
		variable := w.compile(t, "variable.c", "-shared", "-fPIC")
		w.bareProbe(t, box{preload: w.install(t) + ":" + variable}).want("nprocs_conf", want)
	})
}

// A program linked when glibc 2.17 was current asks for that version's
// symbols, and for libpthread as a library of its own.
func TestSymbolVersionsOfGlibc217(t *testing.T) {
	w := worlds()[0]
	dir := t.TempDir()
	for soname, flags := range map[string][]string{
		"libc.so.6":       {"-Wl,--version-script=testdata/oldlibc.map"},
		"libpthread.so.0": {"-Wl,--version-script=testdata/oldlibpthread.map", "-DLIBPTHREAD"},
	} {
		flags = append(flags, "-shared", "-fPIC", "-nostdlib", "-fno-builtin", "-Wl,-soname,"+soname)
		lib := w.compile(t, "oldlibc.c", flags...)
		if err := os.Symlink(lib, filepath.Join(dir, soname)); err != nil {
			t.Fatal(err)
		}
	}
	program := w.compile(t, "old.c", "-nodefaultlibs", "-Wl,--hash-style=sysv", "-Wl,--no-as-needed",
		filepath.Join(dir, "libpthread.so.0"), filepath.Join(dir, "libc.so.6"))
	wantVersions(t, program, "GLIBC_2.2.5", "GLIBC_2.3.4", "GLIBC_2.6")
	b := sized(t)
	b.preload = w.install(t)
	want := fmt.Sprintf("77 77 77 77 %d 4096\n", 77*gib)
	if got := run(t, w.command(t, b, program)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// wantVersions checks that a program asks for no other symbol versions.
func wantVersions(t *testing.T, program string, versions ...string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.ImportedSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Version != "" && !slices.Contains(versions, s.Version) {
			t.Errorf("%s is of version %s, want one of %s", s.Name, s.Version, strings.Join(versions, ", "))
		}
	}
}
