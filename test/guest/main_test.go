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

// kernels are what tests run on: that of the node's release, and the oldest
// that Truesize works on.
var kernels = []struct{ version, release string }{{"6.1", ""}, {"5.10", "bullseye"}}

// onEach runs a test on each kernel, with the release that has it.
func onEach(t *testing.T, test func(t *testing.T, release string)) {
	t.Helper()
	for _, k := range kernels {
		t.Run(k.version, func(t *testing.T) { test(t, k.release) })
	}
}

// soak says whether the tests are to take their time, as make soak wants.
func soak() bool { return os.Getenv("TRUESIZE_SOAK") != "" }

// scaled returns how many events a test makes.
func scaled(short, long int) int {
	if soak() {
		return long
	}
	return short
}

// machine returns one that has nothing to do yet.
func machine(t *testing.T, release string) *Machine {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Fatalf("the machines run programs built for amd64; this node is %s", runtime.GOARCH)
	}
	cache, err := filepath.Abs(filepath.Join(repo, "run", "guest"))
	if err != nil {
		t.Fatal(err)
	}
	return &Machine{Cache: cache, Release: release, CPUs: 2, Memory: 1536}
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

// A suite is tests of a package of the repository: those named, or all.
type suite struct {
	pkg   string
	tests []string
}

// pattern is what -test.run takes.
func (s suite) pattern() string {
	if len(s.tests) == 0 {
		return "."
	}
	return "^(" + strings.Join(s.tests, "|") + ")$"
}

// runTests runs named tests of a package in the machine: see runSuites.
func runTests(t *testing.T, m *Machine, pkg string, tests ...string) Result {
	t.Helper()
	return runSuites(t, m, suite{pkg, tests})
}

// runSuites runs tests of packages in the machine, one package after the other,
// each in its directory, with its testdata. It fails this test unless each test
// ran and passed.
func runSuites(t *testing.T, m *Machine, suites ...suite) Result {
	t.Helper()
	script := "status=0"
	for _, s := range suites {
		dir := filepath.Join(guestRepo, s.pkg)
		m.Files = append(m.Files, File{Host: buildTests(t, s.pkg), Guest: filepath.Join(dir, "tests")})
		m.Files = append(m.Files, testdata(t, s.pkg)...)
		script += fmt.Sprintf("; cd %s && ./tests -test.v -test.timeout 8m -test.run '%s' || status=1", dir, s.pattern())
	}
	m.Files = append(m.Files, programs(t, "sh")...)
	m.Command = []string{"/bin/sh", "-c", script + "; exit $status"}
	// A test must not skip what it misses; TRUESIZE_GUEST tells one that
	// depends on the kernel that this kernel has what it needs.
	m.Env = append(m.Env, "CI=true", "TRUESIZE_GUEST=1", "TMPDIR=/tmp")
	r := run(t, m)
	if r.Status != 0 {
		t.Errorf("the tests end with status %d", r.Status)
	}
	if strings.Contains(r.Output, "--- SKIP: ") {
		t.Error("a test was skipped")
	}
	for _, s := range suites {
		for _, name := range s.tests {
			if !strings.Contains(r.Output, "--- PASS: "+name+" (") {
				t.Errorf("%s did not pass", name)
			}
		}
	}
	return r
}

// buildTests builds the tests of a package and returns the program's path.
func buildTests(t *testing.T, pkg string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tests")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-trimpath", "-o", program, "./"+pkg)
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of %s: %v: %s", pkg, err, out)
	}
	return program
}

// testdata returns what a package's tests read, if they do.
func testdata(t *testing.T, pkg string) []File {
	t.Helper()
	dir := filepath.Join(pkg, "testdata")
	if _, err := os.Stat(filepath.Join(repo, dir)); err != nil {
		return nil
	}
	return repoTree(t, dir)
}

// repoTree returns the files below a directory of the repository, at their
// places in it.
func repoTree(t *testing.T, dir string) []File {
	t.Helper()
	files, err := Tree(filepath.Join(repo, dir))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		rel, err := filepath.Rel(repo, f.Host)
		if err != nil {
			t.Fatal(err)
		}
		files[i].Guest = filepath.Join(guestRepo, rel)
	}
	return files
}
