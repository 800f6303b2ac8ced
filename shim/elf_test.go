package shim_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// The dynamic tags of packed relative relocations, for which debug/elf has no
// name.
const (
	dtRelrSize = elf.DynTag(35)
	dtRelr     = elf.DynTag(36)
)

// inObjects runs test on the object of each architecture.
func inObjects(t *testing.T, test func(t *testing.T, goarch string, f *elf.File)) {
	for _, goarch := range []string{"amd64", "arm64"} {
		t.Run(goarch, func(t *testing.T) {
			f, err := elf.NewFile(bytes.NewReader(object(t, goarch)))
			if err != nil {
				t.Fatal(err)
			}
			test(t, goarch, f)
		})
	}
}

func TestObjectIsOfItsArchitecture(t *testing.T) {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	inObjects(t, func(t *testing.T, goarch string, f *elf.File) {
		if f.Machine != machines[goarch] || f.Type != elf.ET_DYN || f.Class != elf.ELFCLASS64 {
			t.Errorf("got %v %v %v, want a 64-bit shared object for %v", f.Class, f.Type, f.Machine, machines[goarch])
		}
	})
}

// What each unwanted part of a preloaded object would do to the programs of a
// container.
func TestDynamicSection(t *testing.T) {
	unwanted := map[elf.DynTag]string{
		elf.DT_NEEDED:        "loads a library into every program, or keeps it from starting",
		elf.DT_RPATH:         "looks for libraries",
		elf.DT_RUNPATH:       "looks for libraries",
		elf.DT_INIT:          "runs code before main",
		elf.DT_INIT_ARRAY:    "runs code before main",
		elf.DT_FINI:          "runs code after main",
		elf.DT_FINI_ARRAY:    "runs code after main",
		elf.DT_TEXTREL:       "writes to code, which SELinux and hardened kernels forbid",
		elf.DT_VERNEED:       "asks for symbol versions that an older or another libc has not",
		elf.DT_VERDEF:        "names versions, and then answers no reference of another one",
		elf.DT_PREINIT_ARRAY: "runs code before main",
		dtRelr:               "is unknown to loaders before glibc 2.36",
		dtRelrSize:           "is unknown to loaders before glibc 2.36",
	}
	inObjects(t, func(t *testing.T, _ string, f *elf.File) {
		for tag, why := range unwanted {
			if values, err := f.DynValue(tag); err != nil || len(values) > 0 {
				t.Errorf("%v (error %v): %s", tag, err, why)
			}
		}
		for _, tag := range []elf.DynTag{elf.DT_HASH, elf.DT_GNU_HASH, elf.DT_SONAME} {
			if values, err := f.DynValue(tag); err != nil || len(values) != 1 {
				t.Errorf("%v: got %v (error %v), want one", tag, values, err)
			}
		}
		flags, err := f.DynValue(elf.DT_FLAGS)
		if err != nil || len(flags) != 1 || elf.DynFlag(flags[0]) != elf.DF_BIND_NOW {
			t.Errorf("flags: got %#x (error %v), want DF_BIND_NOW alone: no text relocations, no static TLS", flags, err)
		}
	})
}

func TestSegments(t *testing.T) {
	inObjects(t, func(t *testing.T, goarch string, f *elf.File) {
		stack := false
		var private uint64
		for _, p := range f.Progs {
			if p.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X {
				t.Errorf("%v is both writable and executable", p.Type)
			}
			switch p.Type {
			case elf.PT_TLS:
				t.Error("has TLS, for which old loaders keep little room")
			case elf.PT_INTERP:
				t.Error("names a loader")
			case elf.PT_GNU_STACK:
				stack = true
			case elf.PT_LOAD:
				if want := map[string]uint64{"amd64": 4096, "arm64": 65536}[goarch]; p.Align != want {
					t.Errorf("segments are aligned to %d, want %d, the largest page", p.Align, want)
				}
				if p.Flags&elf.PF_W != 0 {
					private += (p.Vaddr+p.Memsz+4095)/4096*4096 - p.Vaddr/4096*4096
				}
			}
		}
		if !stack {
			t.Error("says nothing of the stack: the loader would make it executable")
		}
		if private > 16<<10 {
			t.Errorf("%d bytes of private memory in every process, want at most 16 KiB", private)
		}
	})
}

func TestImportsAreWeak(t *testing.T) {
	allowed := []string{"__errno_location", "_dl_debug_addr", "_r_debug", "environ"}
	inObjects(t, func(t *testing.T, _ string, f *elf.File) {
		symbols, err := f.DynamicSymbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range symbols {
			if s.Section == elf.SHN_UNDEF && (elf.ST_BIND(s.Info) != elf.STB_WEAK || !slices.Contains(allowed, s.Name)) {
				t.Errorf("imports %s (%v), want weak ones of %v only", s.Name, elf.ST_BIND(s.Info), allowed)
			}
		}
	})
}

func TestExports(t *testing.T) {
	want := []string{
		"JVM_ActiveProcessorCount", "__sysconf", "get_avphys_pages", "get_nprocs", "get_nprocs_conf", "get_phys_pages",
		"getloadavg", "pthread_attr_setaffinity_np", "pthread_getaffinity_np", "pthread_setaffinity_np",
		"sched_getaffinity", "sched_setaffinity", "sysconf", "sysinfo",
	}
	inObjects(t, func(t *testing.T, _ string, f *elf.File) {
		symbols, err := f.DynamicSymbols()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range symbols {
			if s.Section != elf.SHN_UNDEF && elf.ST_BIND(s.Info) != elf.STB_LOCAL {
				got = append(got, s.Name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("exports %v, want %v", got, want)
		}
	})
}

// TestControlFlowProtection looks for the marks without which the loader turns
// CET or BTI off: for the process on amd64, for the object on arm64.
func TestControlFlowProtection(t *testing.T) {
	// A property of 4 bytes: type, size, IBT|SHSTK or BTI|PAC (the psABIs'
	// GNU_PROPERTY_X86_FEATURE_1_AND and GNU_PROPERTY_AARCH64_FEATURE_1_AND).
	want := map[string][]byte{
		"amd64": {0x02, 0, 0, 0xc0, 4, 0, 0, 0, 3, 0, 0, 0},
		"arm64": {0x00, 0, 0, 0xc0, 4, 0, 0, 0, 3, 0, 0, 0},
	}
	inObjects(t, func(t *testing.T, goarch string, f *elf.File) {
		s := f.Section(".note.gnu.property")
		if s == nil {
			t.Fatal("has no .note.gnu.property")
		}
		data, err := s.Data()
		if err != nil || !bytes.Contains(data, want[goarch]) {
			t.Errorf("got properties % x (error %v), want % x among them", data, err, want[goarch])
		}
	})
}

// TestObjectIsOfThisSource builds the object again elsewhere: an embedded one
// of another source, or a build that depends on its directory, differs.
func TestObjectIsOfThisSource(t *testing.T) {
	need(t, "make", "x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc")
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "shim/src"), os.DirFS("src")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "shim/objects"), 0o755); err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("rules.mk")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "shim/rules.mk"), rules, 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command("make", "-C", dir, "-f", "shim/rules.mk", "shim"))
	for _, goarch := range []string{"amd64", "arm64"} {
		got, err := os.ReadFile(filepath.Join(dir, "bin/libtruesize-"+goarch+".so"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, object(t, goarch)) {
			t.Errorf("%s: this program's object is not of this source: run `make shim`", goarch)
		}
	}
}
