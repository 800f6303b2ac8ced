package guest

import (
	"testing"
)

// networkMachine has what the tests of package cni need.
func networkMachine(t *testing.T, release string) *Machine {
	t.Helper()
	m := machine(t, release)
	m.Modules = []string{"8021q", "macvlan", "veth", "bridge"}
	m.Files = append(products(t, "truesize-macvlan"), repoTree(t, "deploy/cni")...)
	m.Env = []string{"TRUESIZE_MACVLAN=" + guestRepo + "/bin/truesize-macvlan"}
	return m
}

// TestNetwork: cmd/truesize-macvlan, its VLANs among it, which need 802.1Q: the tests of
// package cni that show its absence on other kernels show its presence here.
func TestNetwork(t *testing.T) { onEach(t, testNetwork) }

func testNetwork(t *testing.T, release string) {
	tests := []string{"TestVLAN", "TestShippedVLAN", "TestKilledBeforeRename"}
	if soak() {
		tests = append(tests, "TestEverybodyReachesEverybody", "TestModes", "TestLayer2Only", "TestWhoseMACAndAddress",
			"TestErrors", "TestUsableAtOnce", "TestConflict", "TestStaleNeighbour", "TestShimIsSilent", "TestSecondNIC",
			"TestMTU", "TestSticky", "TestParallel", "TestKilled", "TestDelWithNothing", "TestLateDel", "TestGCWithoutAList",
			"TestReconcileCollectsTheDead", "TestReconcileRestoresTheNode", "TestReboot")
	}
	runTests(t, networkMachine(t, release), "cni", tests...)
}
