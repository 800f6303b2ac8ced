package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A command with --mount-ns finds in a pod what the node has.
func TestMountNS(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	runDir := t.TempDir()
	if err := os.Mkdir(filepath.Join(runDir, "containers"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The directory is not in the pod, and the program nowhere else.
	const pod = `mount -t tmpfs none "$1" && mount -t tmpfs none "$2" && cp "$3" "$2/truesize" && shift 3 && exec "$@"`
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	programDir := t.TempDir()
	program := filepath.Join(programDir, "truesize") // by whose name the test binary is that
	nodeNS := fmt.Sprintf("/proc/%d/ns/mnt", os.Getpid())
	status := func(t *testing.T, env string, flags ...string) (string, error) {
		t.Helper()
		args := append([]string{"--mount", "sh", "-c", pod, "sh", runDir, programDir, exe, program, "--run-dir", runDir}, flags...)
		cmd := exec.Command("unshare", append(args, "status")...)
		cmd.Env = append(os.Environ(), "TRUESIZE_MOUNT_NS="+env)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := status(t, ""); err == nil || !strings.Contains(out, "no registry") {
		t.Errorf("in the pod: %v: %s", err, out)
	}
	if out, err := status(t, "", "--mount-ns", nodeNS); err != nil {
		t.Errorf("on the node: %v: %s", err, out)
	}
	if out, err := status(t, nodeNS); err != nil {
		t.Errorf("on the node, by the variable: %v: %s", err, out)
	}
	if out, err := status(t, "/proc/0/ns/mnt"); err == nil || !strings.Contains(out, "hostPID") {
		t.Errorf("in no namespace: %v: %s", err, out)
	}
}
