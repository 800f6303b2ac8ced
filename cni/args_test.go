package cni

import (
	"testing"

	"github.com/containernetworking/cni/pkg/utils"
)

// FuzzNames: the names that we take are those that the CNI library takes.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "a", "lan-1_x.y", "-a", ".", "..", "a b", "a/b", "a:b", "é", "aé", "a\n", "eth0", "0123456789abcde", "0123456789abcdef", "a\xff", "a\u00a0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := validName(s), utils.ValidateContainerID(s) == nil; got != want {
			t.Errorf("container %q: %v, want %v", s, got, want)
		}
		if got, want := validName(s), utils.ValidateNetworkName(s) == nil; got != want {
			t.Errorf("network %q: %v, want %v", s, got, want)
		}
		if got, want := validLinkName(s), utils.ValidateInterfaceName(s) == nil; got != want {
			t.Errorf("link %q: %v, want %v", s, got, want)
		}
	})
}
