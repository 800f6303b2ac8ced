package fault

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// neighbourVar names a commit of the repository. Where it is set, the program
// of version v2 is built from that, so that the tests of two versions are of
// two that differ.
const neighbourVar = "TRUESIZE_NEIGHBOUR"

// built has the programs that tests have built, by version.
var built = struct {
	sync.Mutex
	path map[string]string
}{path: make(map[string]string)}

// viewd builds the program under test, once, as version v. Where there is no
// compiler, TRUESIZE_VIEWD names a program to take for every version.
func viewd(t *testing.T, v string) string {
	t.Helper()
	if path := os.Getenv("TRUESIZE_VIEWD"); path != "" {
		return path
	}
	built.Lock()
	defer built.Unlock()
	if path := built.path[v]; path != "" {
		return path
	}
	dir, err := os.MkdirTemp("", "truesize-fault-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "truesize-viewd")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X github.com/truesize/truesize/pkg/version.version="+v, "-o", path, "./cmd/truesize-viewd")
	cmd.Dir = source(t, v)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	built.path[v] = path
	return path
}

// source returns the directory of the source that version v is built from.
func source(t *testing.T, v string) string {
	t.Helper()
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	commit := os.Getenv(neighbourVar)
	if commit == "" || v != "v2" {
		return repo
	}
	dir := t.TempDir()
	archive := filepath.Join(dir, "source.tar")
	for _, argv := range [][]string{
		{"git", "-C", repo, "archive", "--output", archive, commit},
		{"tar", "-C", dir, "-xf", archive},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v: %s", neighbourVar, commit, err, out)
		}
	}
	return dir
}
