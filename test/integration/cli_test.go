package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/truesize/truesize/test/stack"
)

// doctor runs the doctor on the stack.
func doctor(t *testing.T, more ...string) (out string, err error) {
	t.Helper()
	return node.Truesize(t.Context(), append([]string{
		"doctor", "--containerd-address", node.Socket(), "--nri-socket", node.NRISocket(),
		"--state-dir", filepath.Join(node.Dir, "truesize-state"), "--runc", node.Program("runc"),
	}, more...)...)
}

// TestDoctor checks that the doctor finds a good node good, and what is wrong
// with one whose agent is away.
func TestDoctor(t *testing.T) {
	out, err := doctor(t)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, name := range []string{"kernel", "cgroup", "fuse", "containerd", "nri", "runc", "agent", "view", "shim"} {
		if !regexp.MustCompile(`(?m)^` + name + ` +ok `).MatchString(out) {
			t.Errorf("%s is not ok:\n%s", name, out)
		}
	}
	if !strings.Contains(out, "the agent is registered") {
		t.Errorf("nri was not found by the agent:\n%s", out)
	}

	node.StopAgent()
	out, err = doctor(t)
	startAgent(t)
	if err == nil {
		t.Error("an absent agent is no reason for exit code 1")
	}
	for _, want := range []string{`agent +not ok`, `nri +ok +listens at`, `view +ok`} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(fmt.Sprint(out, err)) {
			t.Errorf("no line %s:\n%s\n%v", want, out, err)
		}
	}
}

// TestExplain checks that the rules of a container are told, also of one that
// is left alone.
func TestExplain(t *testing.T) {
	spec := small()
	spec.Annotations = map[string]string{"truesize.dev/memory": "1Gi", "truesize.dev/cpus": "lots"}
	c := run(t, spec)
	out, err := node.Truesize(t.Context(), "explain", c.ID[:16])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`^\* cpu +limit +1 +the CPU limit is 1 CPU`, `^\* memory +annotation +1 GiB`,
		`^  annotation truesize.dev/cpus: "lots"`, `^  files +/proc/cpuinfo .*/sys/devices/system/cpu/online$`,
		`^  variables +LD_PRELOAD NUM_CPUS GOMAXPROCS DOTNET_PROCESSOR_COUNT PYTHON_CPU_COUNT MALLOC_ARENA_MAX$`,
		`^  CPU set +none$`, `^  size page +used$`, `^  NUM_CPUS +"1"$`, `^  CPUs +1$`,
	} {
		if !regexp.MustCompile(`(?m)` + want).MatchString(out) {
			t.Errorf("no line %s:\n%s", want, out)
		}
	}

	spec = small()
	spec.Privileged = true
	alone := run(t, spec)
	if out, err = node.Truesize(t.Context(), "explain", alone.ID); err != nil || !strings.Contains(out, "Left alone: it is privileged") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestBadEntryDisturbsNobody checks that an entry that cannot be used is
// counted, and told of, and costs nothing else.
func TestBadEntryDisturbsNobody(t *testing.T) {
	dir := filepath.Join(node.RunDir(), "containers", "damaged")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "container.json"), []byte(`{"version": 1, "id": "other"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	wantSize(t, run(t, small()), 1, 256)
	if body, err := node.Get(t.Context(), "/metrics"); err != nil || !strings.Contains(body, "\ntruesize_registry_unusable_entries 1\n") {
		t.Errorf("the entry is not counted: %v", err)
	}
	out, err := node.Truesize(t.Context(), "status", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var list []struct{ ID string }
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) == 0 {
		t.Errorf("status: %v\n%s", err, out)
	}
}

// TestOwnMounts checks that a user's own mount stays, and the rest is mounted.
func TestOwnMounts(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "meminfo")
	if err := os.WriteFile(own, []byte("MemTotal: 7 kB\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := small()
	spec.Mounts = []stack.Mount{{Source: own, Target: "/proc/meminfo"}, {Source: dir, Target: "/dev/truesize"}}
	c := run(t, spec)
	wantSh(t, c, memTotal, "7")
	wantSh(t, c, countCPUs, "1")
	wantSh(t, c, "echo $NUM_CPUS; env | grep -c LD_PRELOAD || true", "1\n0")
	// Nothing was made in the user's volume.
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the volume holds %v, %v", entries, err)
	}
}
