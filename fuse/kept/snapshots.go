package kept

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// Snapshots are the files' contents as readers last saw them. The server
// stores each that it makes; a successor begins with them, so that a READ is
// answered from the snapshot whose attributes its predecessor reported; and
// the keeper shows them while there is no server. One process at a time uses
// them.
type Snapshots struct {
	m *Memory

	mu    sync.Mutex
	index map[uint64]int // node to entry
	free  []int          // entries
	used  []bool         // granules
	low   int            // no granule before it is free
}

// An entry says where a node's snapshot is. seq is odd while it changes.
type entry struct {
	node  atomic.Uint64 // 0: the entry is free
	seq   atomic.Uint64
	first uint32 // granule
	count uint32 // granules
	size  uint64 // bytes
	mtime int64  // ns since the epoch
	_     [3]uint64
}

const entrySize = int(unsafe.Sizeof(entry{}))

// Snapshots returns the snapshots there are. Entries that a killed server left
// half written are dropped.
func (m *Memory) Snapshots() *Snapshots {
	s := &Snapshots{m: m, index: make(map[uint64]int), used: make([]bool, granules)}
	for i := entries - 1; i >= 0; i-- {
		e := s.entry(i)
		if node := e.node.Load(); node != 0 && s.usable(e, node) {
			s.index[node] = i
			s.mark(e, true)
		} else {
			s.release(i)
		}
	}
	return s
}

// usable checks an entry, which another process wrote.
func (s *Snapshots) usable(e *entry, node uint64) bool {
	_, twice := s.index[node]
	if twice || e.seq.Load()%2 != 0 || e.count == 0 || e.count > granules || e.first > granules-e.count {
		return false
	}
	if e.size == 0 || e.size > uint64(e.count)*granuleSize {
		return false
	}
	for _, u := range s.used[e.first : e.first+e.count] {
		if u {
			return false
		}
	}
	return true
}

// Load returns a copy of the node's snapshot.
func (s *Snapshots) Load(node uint64) (data []byte, mtime int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[node]
	if !ok {
		return nil, 0, false
	}
	// A server that was thought dead may still write.
	e := s.entry(i)
	seq, first, count, size := e.seq.Load(), e.first, e.count, e.size
	if seq%2 != 0 || first > granules || count > granules-first || size > uint64(count)*granuleSize {
		return nil, 0, false
	}
	at := granulesAt() + int(first)*granuleSize
	data, mtime = append([]byte(nil), s.m.data[at:at+int(size)]...), e.mtime
	return data, mtime, e.seq.Load() == seq && e.node.Load() == node
}

// Store keeps a snapshot in the place of the node's last one. Where there is
// no room, none is kept, and that is counted.
func (s *Snapshots) Store(node uint64, data []byte, mtime int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[node]
	if ok && int(s.entry(i).count)*granuleSize < len(data) {
		s.drop(node, i)
		ok = false
	}
	if !ok {
		if i, ok = s.place(node, len(data)); !ok {
			s.m.Count(NotKept)
			return
		}
	}
	e := s.entry(i)
	e.seq.Store(e.seq.Load() | 1)
	copy(s.bytes(e), data)
	e.size, e.mtime = uint64(len(data)), mtime
	e.node.Store(node)
	e.seq.Add(1)
}

// Drop forgets the node's snapshot.
func (s *Snapshots) Drop(node uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.index[node]; ok {
		s.drop(node, i)
	}
}

// Sweep forgets the snapshots of the nodes that keep does not want.
func (s *Snapshots) Sweep(keep func(node uint64) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for node, i := range s.index {
		if !keep(node) {
			s.drop(node, i)
		}
	}
}

// Nodes returns the number of snapshots.
func (s *Snapshots) Nodes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.index)
}

func (s *Snapshots) drop(node uint64, i int) {
	s.mark(s.entry(i), false)
	s.low = min(s.low, int(s.entry(i).first))
	delete(s.index, node)
	s.release(i)
}

// release makes an entry free. Its node goes first: the rest means nothing
// without it.
func (s *Snapshots) release(i int) {
	e := s.entry(i)
	if e.node.Load() != 0 {
		e.node.Store(0)
	}
	s.free = append(s.free, i)
}

// place finds an entry and granules for a snapshot of a node that has none.
func (s *Snapshots) place(node uint64, size int) (int, bool) {
	count := (size + granuleSize - 1) / granuleSize
	if len(s.free) == 0 || count == 0 {
		return 0, false
	}
	first, ok := s.room(count)
	if !ok {
		return 0, false
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	e := s.entry(i)
	e.seq.Store(e.seq.Load() | 1)
	e.first, e.count = uint32(first), uint32(count)
	s.mark(e, true)
	s.index[node] = i
	return i, true
}

// room finds count free granules in a row, the first that there are: the memory
// that was ever touched stays the view's, however many containers come and go.
func (s *Snapshots) room(count int) (first int, ok bool) {
	for s.low < granules && s.used[s.low] {
		s.low++
	}
	run := 0
	for g := s.low; g < granules; g++ {
		if s.used[g] {
			run = 0
			continue
		}
		if run++; run == count {
			return g + 1 - count, true
		}
	}
	return 0, false
}

func (s *Snapshots) mark(e *entry, used bool) {
	for g := e.first; g < e.first+e.count; g++ {
		s.used[g] = used
	}
}

func (s *Snapshots) entry(i int) *entry {
	return (*entry)(unsafe.Pointer(&s.m.data[tableAt()+i*entrySize]))
}

func (s *Snapshots) bytes(e *entry) []byte {
	at := granulesAt() + int(e.first)*granuleSize
	return s.m.data[at : at+int(e.count)*granuleSize]
}
