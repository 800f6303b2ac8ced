package guest

import (
	"fmt"
	"strings"
	"testing"
)

// viewMachine has what the fault tests need, which make so many events.
func viewMachine(t *testing.T, release string, events int) *Machine {
	t.Helper()
	m := machine(t, release)
	m.Modules = []string{"fuse"}
	m.Files = append(products(t, "truesize-viewd"), programs(t, "cat", "cp", "mount", "nsenter", "sleep", "unshare")...)
	m.Env = []string{"TRUESIZE_VIEWD=" + guestRepo + "/bin/truesize-viewd", fmt.Sprint("TRUESIZE_EVENTS=", events)}
	return m
}

// TestServerKilled: no read is lost on kernels before FUSE_NOTIFY_RESEND (6.9)
// when the view's server is killed again and again. What reads cost there
// without kills is told beside it, in the long form.
func TestServerKilled(t *testing.T) { onEach(t, testServerKilled) }

func testServerKilled(t *testing.T, release string) {
	kills, tests := scaled(40, 100), []string{"TestServerKilled"}
	if soak() {
		tests = append(tests, "TestUndisturbed")
	}
	r := runTests(t, viewMachine(t, release, kills), "test/fault", tests...)
	if !strings.Contains(r.Output, fmt.Sprintf("FIGURES TestServerKilled: %d events", kills)) {
		t.Errorf("there were not %d kills", kills)
	}
}

// TestViewInContainers: mounts in containers outlive servers and keepers, are
// repaired after the loss of the connection, and taken off at the end.
func TestViewInContainers(t *testing.T) { onEach(t, testViewInContainers) }

func testViewInContainers(t *testing.T, release string) {
	runTests(t, viewMachine(t, release, scaled(2, 20)), "test/fault", "TestContainersNotice", "TestAllKilled", "TestConnectionAborted", "TestStopped")
}

// TestKeeperKilled: the other faults of the matrix, as far as they depend on
// the kernel: a keeper that dies, a server that stands still for good, the
// keeper that answers where no server comes up.
func TestKeeperKilled(t *testing.T) { onEach(t, testKeeperKilled) }

func testKeeperKilled(t *testing.T, release string) {
	tests := []string{"TestKeeperKilled", "TestServerStopped"}
	if soak() {
		tests = append(tests, "TestEitherKilled", "TestServerKilledAtOnce", "TestSpareSurvives", "TestNoServer",
			"TestNoServerNoSnapshot", "TestServerDiesOfOneFile", "TestOutOfDescriptors", "TestDiskFull", "TestTwoAtOnce")
	}
	runTests(t, viewMachine(t, release, scaled(3, 20)), "test/fault", tests...)
}

// TestClockJumps: a machine of its own is one whose clock may be set.
func TestClockJumps(t *testing.T) { onEach(t, testClockJumps) }

func testClockJumps(t *testing.T, release string) {
	m := viewMachine(t, release, 1)
	m.Env = append(m.Env, "TRUESIZE_SET_CLOCK=1")
	runTests(t, m, "test/fault", "TestClockJumps")
}

// TestKernel: what asks most of the kernel, with the packages' own tests: mounts
// in running containers, the FUSE connection, a real cgroup v2.
func TestKernel(t *testing.T) { onEach(t, testKernel) }

func testKernel(t *testing.T, release string) {
	m := viewMachine(t, release, 1)
	m.Files = append(m.Files, programs(t, "ls")...)
	suites := []suite{{pkg: "pkg/attach"}}
	if soak() {
		suites = append(suites, suite{pkg: "pkg/cgroup"}, suite{pkg: "pkg/registry"}, suite{pkg: "cmd/truesize-viewd"},
			suite{pkg: "fuse", tests: []string{"TestReadersSeeWholeSnapshots", "TestEveryWayToRead",
				"TestReadsWithinTheBoundSendNothing", "TestFiftyContainers", "TestResizeUnderReaders", "TestRemovalUnderReaders",
				"TestUnknownIDIsNotRemembered", "TestListing", "TestNothingCanBeWritten", "TestVersionIsNeverCached",
				"TestSuccessor", "TestServeEndsWithContext"}})
	}
	runSuites(t, m, suites...)
}
