package guest

import (
	"strings"
	"testing"
)

// viewMachine has what the fault tests need, which make so many events.
func viewMachine(t *testing.T, events string) *Machine {
	t.Helper()
	m := machine(t)
	m.Modules = []string{"fuse"}
	m.Files = append(products(t, "truesize-viewd"), programs(t, "sh", "cat", "mount", "nsenter", "sleep", "unshare")...)
	m.Env = []string{"TRUESIZE_VIEWD=" + guestRepo + "/bin/truesize-viewd", "TRUESIZE_EVENTS=" + events}
	return m
}

// TestServerKilled: no read is lost on a kernel before FUSE_NOTIFY_RESEND (6.9)
// when the view's server is killed a hundred times.
func TestServerKilled(t *testing.T) {
	r := runTests(t, viewMachine(t, "100"), "test/fault", "TestServerKilled")
	if !strings.Contains(r.Output, "FIGURES TestServerKilled: 100 events") {
		t.Error("there were not 100 kills")
	}
}

// TestViewInContainers: mounts in containers outlive servers and keepers, are
// repaired after the loss of the connection, and taken off at the end.
func TestViewInContainers(t *testing.T) {
	runTests(t, viewMachine(t, "2"), "test/fault", "TestContainersNotice", "TestAllKilled", "TestConnectionAborted", "TestStopped")
}

// TestClockJumps: a machine of its own is one whose clock may be set.
func TestClockJumps(t *testing.T) {
	m := viewMachine(t, "1")
	m.Env = append(m.Env, "TRUESIZE_SET_CLOCK=1")
	runTests(t, m, "test/fault", "TestClockJumps")
}
