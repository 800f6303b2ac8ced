package fuse

import "sync/atomic"

// stats are the counters of a server. They only grow.
type stats struct {
	requests       [opcodes]atomic.Uint64
	invalidations  atomic.Uint64
	unknownIDs     atomic.Uint64
	prepared       atomic.Uint64
	staleNodes     atomic.Uint64
	malformed      atomic.Uint64
	writeErrors    atomic.Uint64
	panics         atomic.Uint64
	protocolErrors countingWriter
}

// request counts a request. The last number stands for all that are unknown.
func (st *stats) request(opcode uint32) { st.requests[min(opcode, opcodes-1)].Add(1) }

// countingWriter counts the lines that go-fuse would log: a caller can make
// as many as it likes.
type countingWriter struct{ n atomic.Uint64 }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.n.Add(1)
	return len(p), nil
}
