package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/truesize/truesize/test/systemd"
)

// state is what there is on the host of Truesize's, or of anyone's.
func state(t *testing.T) map[string][]string {
	t.Helper()
	files := func(root string) (list []string) {
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && !strings.Contains(path, "/containerd") {
				list = append(list, path)
			}
			return nil
		})
		return list
	}
	s := map[string][]string{"files": files("/run"), "run directory": files(node.RunDir()), "state directory": files(node.StateDir())}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	s["mounts"] = strings.Split(string(mounts), "\n")
	points, err := systemd.Hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		for _, c := range files(p) {
			if strings.Contains(c, "-pod-") { // its parent is the kubelet's to remove
				continue
			}
			if info, err := os.Stat(c); err == nil && info.IsDir() {
				s["cgroups"] = append(s["cgroups"], c)
			}
		}
	}
	all, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if comm, err := os.ReadFile(p); err == nil {
			s["processes"] = append(s["processes"], strings.TrimSpace(string(comm)))
		}
	}
	for _, list := range s {
		slices.Sort(list)
	}
	return s
}

// After truesize uninstall the host is as it was before its first agent:
// mounts, files, cgroups, processes, and systemd's units. A container that
// runs goes on.
func TestUninstall(t *testing.T) {
	uninstall := func() {
		t.Helper()
		if out, err := node.Truesize(t.Context(), "uninstall", "--state-dir", node.StateDir()); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	uninstall() // what earlier tests have left
	spec := small()
	c := startPod(t, spec)
	before := state(t)
	agent := startAgentPod(t, bin(t))
	await(t, "view of a container that was there before", func() bool { return sized(t, c, spec) })
	wantUnit(t)
	removePod(t, agent)
	uninstall()
	if sized(t, c, spec) {
		t.Error("the container still has the view")
	}
	if name, text := unit(t); name != "" {
		t.Errorf("unit %s is left: %s", name, text)
	}
	after := state(t)
	for _, what := range []string{"files", "run directory", "state directory", "mounts", "cgroups", "processes"} {
		if d := difference(before[what], after[what]); d != "" {
			t.Errorf("%s differ:\n%s", what, d)
		}
	}
}

// difference returns the lines that one list has and the other has not.
func difference(before, after []string) (d string) {
	for _, l := range before {
		if !slices.Contains(after, l) {
			d += "- " + l + "\n"
		}
	}
	for _, l := range after {
		if !slices.Contains(before, l) {
			d += "+ " + l + "\n"
		}
	}
	return d
}
