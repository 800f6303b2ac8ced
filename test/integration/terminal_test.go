package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTerminal checks that make run opens a shell on a terminal, and that it
// takes everything down when the terminal is closed under the shell. What
// leads the session, as make may, is told alone, and waits for its child.
func TestTerminal(t *testing.T) {
	master, slave := openTerminal(t)
	run := dev(t, "run")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `trap '' HUP; "$@"; exit`, "sh", run.Path, "run")
	cmd.Dir = run.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()

	output := readUntil(t, master, "", "Leaving it takes everything down")
	// The sum tells an answer from the echo of the question.
	fmt.Fprintln(master, "echo cpus=$(nproc) sum=$((40+2))")
	output = readUntil(t, master, output, "sum=42")
	if !strings.Contains(output, "cpus=1 sum=42") {
		t.Errorf("the shell says %q", output)
	}
	id := stackID(t, output)
	if leftovers(t, id) == "" {
		t.Error("nothing runs behind the shell")
	}
	master.Close()
	if err := cmd.Wait(); err == nil {
		t.Error("make run ended well in spite of the hangup")
	}
	if left := leftovers(t, id); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

// openTerminal returns the two ends of a pseudo-terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// readUntil reads from the terminal until what was read contains want, and
// returns all of it, after so far. The test's own deadline bounds it.
func readUntil(t *testing.T, terminal *os.File, soFar, want string) string {
	t.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains(soFar, want) {
		n, err := terminal.Read(buf)
		soFar += string(buf[:n])
		if err != nil {
			t.Fatalf("terminal: %v after %q", err, soFar)
		}
	}
	return soFar
}
