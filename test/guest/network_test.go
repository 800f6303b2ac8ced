package guest

import "testing"

// TestVLAN: the VLANs of cmd/truesize-macvlan, which need 802.1Q: the test of
// package cni that shows its absence on other kernels shows its presence here.
func TestVLAN(t *testing.T) {
	m := machine(t)
	m.Modules = []string{"8021q", "macvlan", "veth", "bridge"}
	m.Files = products(t, "truesize-macvlan")
	m.Env = []string{"TRUESIZE_MACVLAN=" + guestRepo + "/bin/truesize-macvlan"}
	runTests(t, m, "cni", "TestVLAN")
}
