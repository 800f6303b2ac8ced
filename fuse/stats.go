package fuse

import (
	"sync/atomic"
)

// Stats are the counters of a server. They only grow.
type Stats struct {
	requests       [opcodes]atomic.Uint64
	renders        [maxFiles]atomic.Uint64
	renderErrors   [maxFiles]atomic.Uint64
	invalidations  atomic.Uint64
	unknownIDs     atomic.Uint64
	staleNodes     atomic.Uint64
	malformed      atomic.Uint64
	writeErrors    atomic.Uint64
	panics         atomic.Uint64
	protocolErrors countingWriter
	initMessage    atomic.Pointer[[]byte]
}

// maxFiles bounds the files of a tree.
const maxFiles = 256

// countingWriter counts the lines that go-fuse would log: a caller can make
// as many as it likes.
type countingWriter struct{ n atomic.Uint64 }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.n.Add(1)
	return len(p), nil
}

func (st *Stats) request(opcode uint32) { st.requests[min(opcode, opcodes-1)].Add(1) }

func (st *Stats) render(file int, err error) {
	st.renders[file].Add(1)
	if err != nil {
		st.renderErrors[file].Add(1)
	}
}
