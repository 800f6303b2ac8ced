// Package logs carries the output of a node's containers from their log files
// to a sink, at least once and in order.
//
// The files are the buffer. A file's progress moves only past what the sink
// has acknowledged, and is written to a checkpoint; after a crash reading
// starts there. One goroutine owns all that is known of files (see loop); it
// reads a bounded piece of each file in turn, and hands chunks of records to
// the sink, which acknowledges them from other goroutines.
//
// A file is known by what it starts with, in its directory: so it stays the
// same file when it is renamed, compressed or copied, and its inode may be
// used again. What the kernel tells of changes is a hint; looking is the
// truth.
//
// The parts that need no system call are packages of their own: parse, join,
// record, checkpoint, source. The package imports no Prometheus and no
// Kubernetes; logs/metrics adapts [Status] to the former.
package logs
