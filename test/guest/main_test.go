package guest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// repo is the root of the repository, whose programs and cache are used.
const repo = "../.."

// guestRepo is where a machine has it.
const guestRepo = "/repo"

// machine returns one that has nothing to do yet.
func machine(t *testing.T) *Machine {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Fatalf("the machines run programs built for amd64; this node is %s", runtime.GOARCH)
	}
	cache, err := filepath.Abs(filepath.Join(repo, "run", "guest"))
	if err != nil {
		t.Fatal(err)
	}
	return &Machine{Cache: cache, CPUs: 2, Memory: 1536}
}

// run boots the machine, whose output it shows as it comes.
func run(t *testing.T, m *Machine) Result {
	t.Helper()
	r, err := m.Run(t.Context(), progress(t))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// progress prints lines with the seconds since the test's start: t.Log would
// hold them back until its end where -v is not given.
func progress(t *testing.T) func(string) {
	begin := time.Now()
	return func(line string) { fmt.Printf("%6.1fs %s: %s\n", time.Since(begin).Seconds(), t.Name(), line) }
}

// programs returns files for the machine.
func programs(t *testing.T, names ...string) []File {
	t.Helper()
	files, err := Programs(names...)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// products returns programs of bin/, at their places in the repository, with
// their libraries.
func products(t *testing.T, names ...string) (files []File) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join("bin", name)
		libs, err := Libraries(filepath.Join(repo, path))
		if err != nil {
			t.Fatalf("%v: run make ready", err)
		}
		files = append(append(files, File{Host: filepath.Join(repo, path), Guest: filepath.Join(guestRepo, path)}), libs...)
	}
	return files
}

// runTests runs tests of the repository's package in the machine, in the
// package's directory. It fails this test unless each ran and passed.
func runTests(t *testing.T, m *Machine, pkg string, tests ...string) Result {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tests")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-trimpath", "-o", program, "./"+pkg)
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of %s: %v: %s", pkg, err, out)
	}
	m.Dir = filepath.Join(guestRepo, pkg)
	m.Files = append(m.Files, File{Host: program, Guest: filepath.Join(m.Dir, "tests")})
	m.Command = []string{filepath.Join(m.Dir, "tests"), "-test.v", "-test.timeout", "8m", "-test.run", "^(" + strings.Join(tests, "|") + ")$"}
	// A test must not skip what it misses; TRUESIZE_GUEST tells one that
	// depends on the kernel that this kernel has what it needs.
	m.Env = append(m.Env, "CI=true", "TRUESIZE_GUEST=1", "TMPDIR=/tmp")
	r := run(t, m)
	if r.Status != 0 {
		t.Errorf("the tests end with status %d", r.Status)
	}
	for _, name := range tests {
		if !strings.Contains(r.Output, "--- PASS: "+name+" (") {
			t.Errorf("%s did not pass", name)
		}
	}
	return r
}
