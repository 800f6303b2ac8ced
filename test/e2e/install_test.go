package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/reads"
	"github.com/truesize/truesize/test/systemd"
)

// truesize runs the admin's tool in the agent's pod.
func truesize(t *testing.T, args ...string) string {
	t.Helper()
	return kubectl(t, append([]string{"-n", "truesize", "exec", "daemonset/truesize", "--", "truesize"}, args...)...)
}

// healthy waits until truesize doctor finds all well: a machine that stood still
// for a moment may be what it finds, which has passed when it looks again.
func healthy(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(generous); ; time.Sleep(time.Second) {
		// This node's runc is not where nodes have it.
		out, err := cluster.Kubectl(t.Context(), "", "-n", "truesize", "exec", "daemonset/truesize", "--", "truesize", "doctor", "--runc", node.Program("runc"))
		if err == nil && !strings.Contains(out, "not ok") && strings.Count(out, " ok ") == 9 {
			return
		}
		t.Logf("truesize doctor: %v\n%s", err, out)
		if time.Now().After(deadline) {
			t.Fatal("truesize doctor does not find all well")
		}
	}
}

// The agent is installed on a node that has running pods: they get their
// views, and the admin finds all well.
func TestInstall(t *testing.T) {
	uninstall(t)
	w := workload{name: "earlier", limits: size}
	start(t, w)
	if sized(t, w) {
		t.Fatal("it is sized before anything is installed")
	}
	install(t)
	await(t, "view of a container that was there before", func() bool { return sized(t, w) })
	healthy(t)
	line := regexp.MustCompile(`default +` + pod(t, w) + ` +main +\S+ +1 / \d+ +256 MiB / \S+ \w+ +limit +\d+ +no`)
	if out := truesize(t, "status"); !line.MatchString(out) {
		t.Errorf("truesize status:\n%s", out)
	}
	if out := truesize(t, "explain", containerID(t, w.space(), "app="+w.name)); !strings.Contains(out, "limit") {
		t.Errorf("truesize explain:\n%s", out)
	}
}

// Each pod sees its own size, by the rule that holds for it.
func TestSizes(t *testing.T) {
	install(t)
	host := fmt.Sprint(runtime.NumCPU())
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	hostKiB := strings.Fields(string(meminfo))[1]
	tests := []struct {
		workload
		cpus, kiB string
	}{
		{workload{name: "limits", limits: size}, "1", "262144"},
		{workload{name: "annotated", requests: `{cpu: 100m, memory: 64Mi}`, annotations: map[string]string{"truesize.dev/cpus": "1"}}, "1", hostKiB},
		{workload{name: "opted-out", limits: size, annotations: map[string]string{"truesize.dev/inject": "false"}}, host, hostKiB},
		{workload{name: "excluded", namespace: "kube-system", limits: size}, host, hostKiB},
	}
	var all []workload
	for i := range tests {
		tests[i].image = image.Debian // whose nproc is not static
		all = append(all, tests[i].workload)
	}
	start(t, all...)
	for _, tt := range tests {
		got := strings.Fields(shell(t, tt.workload, "nproc; grep -c ^processor /proc/cpuinfo; awk '/^MemTotal/ {print $2}' /proc/meminfo"))
		if want := []string{tt.cpus, tt.cpus, tt.kiB}; !slices.Equal(got, want) {
			t.Errorf("%s: nproc, processors in /proc/cpuinfo, kB in /proc/meminfo: %q, want %q", tt.name, got, want)
		}
	}
}

// uninstall takes the agent off the node, and then the rest.
func uninstall(t *testing.T) {
	t.Helper()
	deleteAgent(t)
	uninstallNode(t)
}

// deleteAgent deletes the DaemonSet.
func deleteAgent(t *testing.T) {
	t.Helper()
	kubectl(t, "delete", "-k", overlay(t, ""), "--ignore-not-found", "--timeout="+generous.String())
}

// uninstallNode has the node uninstalled, and removes what did that.
func uninstallNode(t *testing.T) {
	t.Helper()
	dir := overlay(t, "uninstall")
	kubectl(t, "apply", "-k", dir)
	kubectl(t, "-n", "truesize-uninstall", "rollout", "status", "daemonset/truesize-uninstall", "--timeout="+generous.String())
	kubectl(t, "delete", "-k", dir, "--timeout="+generous.String())
}

// The DaemonSet is deleted: the views go on. The node is uninstalled: it is as
// it was before, and a container that ran all the time runs on.
func TestUninstall(t *testing.T) {
	uninstall(t)
	w := workload{name: "stays", limits: size}
	start(t, w)
	before := state(t)
	for _, what := range []string{"files", "processes"} {
		for _, l := range before[what] {
			if strings.Contains(l, "truesize") {
				t.Errorf("uninstalled, the node has the %s %s", what, l)
			}
		}
	}
	install(t)
	await(t, "view of a container that was there before", func() bool { return sized(t, w) })

	r := reads.Start(t, nil, 4, readPause, targets(t, w))
	view := status(t)
	deleteAgent(t)
	unchanged(t, view)
	clean(t, r.Stop(), 1)
	if !sized(t, w) {
		t.Error("the view has gone with the DaemonSet")
	}

	uninstallNode(t)
	if sized(t, w) {
		t.Error("the container still has the view")
	}
	// The kubelet removes what was of the agent's pods in its own time.
	var d string
	for range 300 {
		if d = difference(before, state(t)); d == "" {
			return
		}
		pause()
	}
	t.Errorf("the node is not as it was:\n%s", d)
}

// state is what there is on the node that somebody may have left there.
func state(t *testing.T) map[string][]string {
	t.Helper()
	s := make(map[string][]string)
	for _, root := range []string{"/run", "/etc/systemd", "/var/lib"} {
		s["files"] = append(s["files"], below(root, func(path string) bool {
			return !strings.HasPrefix(path, "/run/containerd") && !strings.HasPrefix(path, "/run/netns") && !strings.HasPrefix(path, "/var/lib/cni")
		})...)
	}
	// Other cgroups may be another test's.
	for _, root := range []string{node.CgroupParent(), "/truesize", "/" + systemd.Cgroup()} {
		hierarchies, err := filepath.Glob("/sys/fs/cgroup/*" + root)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range append(hierarchies, "/sys/fs/cgroup"+root) {
			s["cgroups"] = append(s["cgroups"], below(dir, isDir)...)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	s["mounts"] = strings.Split(string(mounts), "\n")
	processes, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if comm, err := os.ReadFile(p); err == nil {
			s["processes"] = append(s["processes"], strings.TrimSpace(string(comm)))
		}
	}
	for _, list := range s {
		slices.Sort(list)
	}
	return s
}

// below returns the paths at and below root that are wanted.
func below(root string, wanted func(string) bool) (list []string) {
	_ = filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil && wanted(path) {
			list = append(list, path)
		}
		return nil
	})
	return list
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// difference returns what one state has and the other has not.
func difference(before, after map[string][]string) (d string) {
	for what := range before {
		for _, l := range before[what] {
			if !slices.Contains(after[what], l) {
				d += "- " + what + ": " + l + "\n"
			}
		}
		for _, l := range after[what] {
			if !slices.Contains(before[what], l) {
				d += "+ " + what + ": " + l + "\n"
			}
		}
	}
	return d
}
