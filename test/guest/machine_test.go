package guest

import (
	"strings"
	"testing"
)

// TestMachine: a command runs as it should and its end is told.
func TestMachine(t *testing.T) {
	for _, k := range kernels {
		t.Run(k.version, func(t *testing.T) { testMachine(t, k.version, k.release) })
	}
}

func testMachine(t *testing.T, version, release string) {
	m := machine(t, release)
	m.Files = programs(t, "sh", "uname", "cat")
	m.Command = []string{"/bin/sh", "-c", "pwd; echo $WORD; uname -r; cat /sys/fs/cgroup/cgroup.controllers; echo error >&2; printf unfinished; exit 3"}
	m.Dir, m.Env = "/var/tmp", []string{"WORD=here"}
	r := run(t, m)
	lines := strings.Split(strings.TrimSpace(r.Output), "\n")
	if r.Status != 3 || len(lines) != 6 {
		t.Fatalf("status %d, %q", r.Status, r.Output)
	}
	for i, want := range []string{"/var/tmp", "here", version + ".", "cpuset cpu io memory", "error", "unfinished"} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
	}
}

// TestMachineFails: a machine that ends early is an error that shows why.
func TestMachineFails(t *testing.T) {
	m := machine(t, "")
	m.Files = programs(t, "sh")
	m.Command = []string{"/bin/sh", "-c", "echo before; echo c > /proc/sysrq-trigger"}
	r, err := m.Run(t.Context(), progress(t))
	if err == nil || !strings.Contains(err.Error(), "Kernel panic") || r.Output != "before\n" {
		t.Errorf("%+v, %v; want the console's last words", r, err)
	}
}
