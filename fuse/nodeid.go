package fuse

import (
	"crypto/sha256"
	"encoding/binary"
)

// A node id is 48 bits of its container's id and 16 bits of the file's path
// below it, so that every server gives the same node the same id.
//
//	63            16 15            0
//	[ container hash | path's index ]
//
// Container hash 0 is the top of the view: its root, which the protocol fixes
// at 1, and .truesize. All ones is left free: go-fuse uses that id itself.
const (
	rootID       = 1
	serviceDirID = 2
	versionID    = 3

	indexBits = 16
	indexMask = 1<<indexBits - 1
	topHash   = 0
	freeHash  = 1<<48 - 1
)

// generation is the same for ever: a container id is never given to another
// container, so a node id never comes to mean another file.
const generation = 1

// containerHash returns the upper 48 bits of the node ids of a container.
// ok is false for the two values that are taken; with 48 bits, neither those
// nor two containers of a node that collide are ever seen, but both are
// refused rather than shown each other's files.
func containerHash(containerID string) (hash uint64, ok bool) {
	sum := sha256.Sum256([]byte(containerID))
	hash = binary.BigEndian.Uint64(sum[:8]) >> indexBits
	return hash, hash != topHash && hash != freeHash
}

// NodeID returns the node id of a path below a container's directory. ok is
// false for a container that cannot be shown.
func NodeID(containerID, path string) (id uint64, ok bool) {
	hash, ok := containerHash(containerID)
	return nodeID(hash, pathIndex(path)), ok
}

func nodeID(hash uint64, index uint16) uint64 { return hash<<indexBits | uint64(index) }

func splitNodeID(id uint64) (hash uint64, index uint16) {
	return id >> indexBits, uint16(id & indexMask)
}

// pathIndex is the lower 16 bits of a node id: FNV-1a over the path, folded.
// It depends on nothing but the path, so a version that adds files leaves the
// ids of the others alone. [NewTree] refuses a set of paths that collide.
func pathIndex(path string) uint16 {
	h := uint32(2166136261)
	for i := range len(path) {
		h = (h ^ uint32(path[i])) * 16777619
	}
	return uint16(h>>16) ^ uint16(h)
}

// inodeNumber is what stat(2) shows for a node: 32 bits, because a 32-bit
// program without large-file support gets EOVERFLOW from stat for more.
func inodeNumber(id uint64) uint64 {
	return uint64(uint32(id>>32) ^ uint32(id))
}
