package guest

import (
	"path/filepath"
	"testing"
)

// TestVLAN: the VLANs of cmd/truesize-macvlan, which need 802.1Q: the tests of
// package cni that show its absence on other kernels show its presence here.
func TestVLAN(t *testing.T) {
	m := machine(t)
	m.Modules = []string{"8021q", "macvlan", "veth", "bridge"}
	const conflist = "deploy/cni/vlan.conflist"
	m.Files = append(products(t, "truesize-macvlan"), File{Host: filepath.Join(repo, conflist), Guest: filepath.Join(guestRepo, conflist)})
	m.Env = []string{"TRUESIZE_MACVLAN=" + guestRepo + "/bin/truesize-macvlan"}
	runTests(t, m, "cni", "TestVLAN", "TestShippedVLAN")
}
