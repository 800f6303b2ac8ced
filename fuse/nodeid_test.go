package fuse

import "testing"

// Node ids must stay what they are: a server of another version takes over
// inodes that the kernel was given by this one.
func TestNodeIDsStay(t *testing.T) {
	for _, c := range []struct {
		id, path string
		want     uint64
	}{
		{"c1", "", 0xd0f631ca1ddb1cd9},
		{"c1", "proc/meminfo", 0xd0f631ca1ddb5b5f},
		{"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "proc/stat", 0xa8ae6e6ee9292d45},
	} {
		hash, ok := containerHash(c.id)
		if got := nodeID(hash, pathIndex(c.path)); !ok || got != c.want {
			t.Errorf("%s %q: %#x, want %#x", c.id, c.path, got, c.want)
		}
		if h, i := splitNodeID(nodeID(hash, pathIndex(c.path))); h != hash || i != pathIndex(c.path) {
			t.Errorf("%s %q does not split", c.id, c.path)
		}
	}
}

func TestInodeNumberFits32Bits(t *testing.T) {
	for _, id := range []uint64{rootID, versionID, 1<<63 | 5, 1<<64 - 2} {
		if n := inodeNumber(id); n>>32 != 0 {
			t.Errorf("%#x: %#x", id, n)
		}
	}
}
