package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/truesize/truesize/test/image"
)

const javaProcessors = "java -cp " + image.JavaClassPath + " Processors"

func TestLeftAlone(t *testing.T) {
	t.Run("opt-out", func(t *testing.T) {
		spec := small()
		spec.Annotations = map[string]string{"truesize.dev/inject": "false"}
		wantUntouched(t, run(t, spec))
	})
	t.Run("privileged", func(t *testing.T) {
		spec := small()
		spec.Privileged = true
		wantUntouched(t, run(t, spec))
	})
	t.Run("hostPID", func(t *testing.T) {
		spec := small()
		spec.HostPID = true
		wantUntouched(t, run(t, spec))
	})
	t.Run("excluded namespace", func(t *testing.T) {
		spec := small()
		spec.Namespace = "kube-system"
		wantUntouched(t, run(t, spec))
	})
}

// TestAnnotations checks the admin's and the user's words on the size, good
// and bad. A bad one never keeps a container from running.
func TestAnnotations(t *testing.T) {
	tests := []struct {
		name        string
		annotations map[string]string
		cpus, mib   int
	}{
		{"pod", map[string]string{"truesize.dev/cpus": "3", "truesize.dev/memory": "1Gi"}, 3, 1024},
		{"container before pod", map[string]string{
			"truesize.dev/cpus": "3", "cpus.truesize.dev/main": "4",
			"truesize.dev/memory": "1Gi", "memory.truesize.dev/main": "2Gi",
		}, 4, 2048},
		{"another container's", map[string]string{
			"cpus.truesize.dev/other": "4", "memory.truesize.dev/other": "2Gi",
		}, 1, 256},
		{"garbage", map[string]string{"truesize.dev/cpus": "two", "truesize.dev/memory": "-1"}, 1, 256},
		{"zero", map[string]string{"truesize.dev/cpus": "0", "truesize.dev/memory": "0"}, 1, 256},
		{"huge", map[string]string{
			"truesize.dev/cpus": "99999999999999999999", "truesize.dev/memory": strings.Repeat("9", 4000),
		}, 1, 256},
		{"a path", map[string]string{"truesize.dev/cpus": "../../etc/passwd"}, 1, 256},
		{"inject is no boolean", map[string]string{"truesize.dev/inject": "perhaps"}, 1, 256},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec := small()
			spec.Annotations = test.annotations
			wantSize(t, run(t, spec), test.cpus, test.mib)
		})
	}
}

// TestOwnNumCPUs checks that NUM_CPUS of the container's spec decides, and
// that one that is no number does not.
func TestOwnNumCPUs(t *testing.T) {
	spec := debian()
	spec.Env = map[string]string{"NUM_CPUS": "5"}
	c := run(t, spec)
	wantSize(t, c, 5, 256)
	wantSh(t, c, "echo $NUM_CPUS", "5")
	wantSh(t, c, javaProcessors, "5")

	spec.Env = map[string]string{"NUM_CPUS": "two"}
	c = run(t, spec)
	wantSize(t, c, 1, 256)
	wantSh(t, c, "echo $NUM_CPUS", "two")
}

// TestChangedNumCPUs checks that a process that changes NUM_CPUS for itself
// gets what it says.
func TestChangedNumCPUs(t *testing.T) {
	c := run(t, debian())
	wantSh(t, c, "NUM_CPUS=6 "+javaProcessors, "6")
}

// TestOwnPreload checks that the user's LD_PRELOAD stays, before the shim.
func TestOwnPreload(t *testing.T) {
	const own = "/lib/x86_64-linux-gnu/libanl.so.1"
	spec := debian()
	spec.Env = map[string]string{"LD_PRELOAD": own}
	c := run(t, spec)
	preload := sh(t, c, "echo $LD_PRELOAD")
	first, rest, _ := strings.Cut(preload, ":")
	if first != own || !strings.HasPrefix(rest, "/dev/truesize/") {
		t.Errorf("LD_PRELOAD is %q, want %s, then the shim", preload, own)
	}
	wantSh(t, c, "grep -o -e libanl.so -e libtruesize.so /proc/self/maps | sort -u | tr '\\n' ' '",
		"libanl.so libtruesize.so ")
}

// TestRootIsUntouched checks that an injection leaves no mount point or other
// file in the container's root file system.
func TestRootIsUntouched(t *testing.T) {
	spec := small()
	injected := run(t, spec)
	spec.Annotations = map[string]string{"truesize.dev/inject": "false"}
	plain := run(t, spec)
	wantUntouched(t, plain)
	const list = "find / -xdev | sort"
	if got, want := sh(t, injected, list), sh(t, plain, list); got != want {
		t.Errorf("files of the root file system:\n%s\nwithout an injection:\n%s", got, want)
	}
}

// TestPreloadIsQuiet checks that the shim changes nothing for a program that
// does not ask for CPUs: no warning of the loader.
func TestPreloadIsQuiet(t *testing.T) {
	c := run(t, debian())
	wantSh(t, c, "/bin/true 2>&1; python3 -c 'print(1)' 2>&1", "1")
}

// TestBadEntries checks that registry entries that are none, and paths that
// do not exist in the view, disturb no container.
func TestBadEntries(t *testing.T) {
	c := run(t, small())
	containers := filepath.Join(node.RunDir(), "containers")
	view := filepath.Join(node.RunDir(), "view")
	for id, entry := range map[string]string{
		strings.Repeat("a", 64): "{",
		strings.Repeat("b", 64): `{"version":1,"id":"../../../etc"}`,
		strings.Repeat("c", 64): `{"version":99}`,
		"not an id":             "{}",
	} {
		dir := filepath.Join(containers, id)
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "container.json"), []byte(entry), 0o644); err != nil {
			t.Fatal(err)
		}
		// Whatever the view shows of it: it answers.
		hostSh(t, "timeout 10 ls '"+filepath.Join(view, id)+"' >/dev/null 2>&1; [ $? -ne 124 ]")
	}
	for _, path := range []string{"nobody", "..%2fetc", c.ID + "/proc/nothing", c.ID + "/etc/passwd"} {
		hostSh(t, "! timeout 10 cat '"+filepath.Join(view, path)+"' 2>/dev/null")
	}
	wantSize(t, c, 1, 256)
	wantSize(t, run(t, small()), 1, 256)
	if _, err := node.Get(t.Context(), "/readyz"); err != nil {
		t.Error(err)
	}
}
