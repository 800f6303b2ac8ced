package guest

import (
	"path/filepath"
	"testing"

	"github.com/truesize/truesize/test/image"
)

// TestNode: containers of a real containerd on a node whose only hierarchy is
// cgroup v2, with AppArmor. It has three CPUs so that a set of two is a part.
func TestNode(t *testing.T) { onEach(t, testNode) }

func testNode(t *testing.T, release string) {
	m := machine(t, release)
	m.CPUs = 3
	m.Modules = []string{"fuse", "overlay", "veth", "bridge"}
	m.Files = products(t, "truesize", "truesized", "truesize-viewd",
		"tools/containerd", "tools/containerd-shim-runc-v2", "tools/ctr", "tools/crictl", "tools/runc",
		"tools/bridge", "tools/host-local", "tools/loopback")
	m.Files = append(m.Files, programs(t, "sh", "awk", "cat", "grep", "sed", "nproc", "getconf", "apparmor_parser")...)
	for _, dir := range []string{"/etc/apparmor.d/abi", "/etc/apparmor.d/abstractions", "/etc/apparmor.d/tunables"} {
		files, err := Tree(dir)
		if err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, files...)
	}
	const images = "/images.tar"
	set, err := image.Ensure(t.Context(), filepath.Join(repo, "run", "images"), progress(t))
	if err != nil {
		t.Fatal(err)
	}
	m.Files = append(m.Files, File{Host: set.Small, Guest: images})
	m.Env = []string{"TRUESIZE_TEST_IMAGES=" + images}
	tests := []string{"TestFiles", "TestUnified", "TestResize"}
	if release == "" || soak() {
		tests = append(tests, "TestCPUSets", "TestNoCPUSetUnasked", "TestAppArmor")
	}
	runTests(t, m, "test/integration", tests...)
}
