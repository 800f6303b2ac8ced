// Package fuse is the view's file system server: one FUSE mount per node, one
// subtree of /proc and /sys files per container.
//
// The kernel's page cache serves the reads. OPEN, FLUSH and OPENDIR answer
// ENOSYS, so the kernel stops asking; entries live long; a file's attributes
// live for its freshness bound. When they expire, the kernel sends GETATTR:
// the server renders a new snapshot, of the same size and with a new mtime,
// the kernel drops the old pages (FUSE_AUTO_INVAL_DATA) and sends READ, which
// is answered from that snapshot. Between two bounds no request reaches the
// server at all.
//
// The server keeps no state that a successor would need: node ids are a
// function of the container's id and the file's path, there are no file
// handles and no look-up counts, and [Server.Serve] takes a descriptor and,
// if the connection is already initialised, the INIT message that began it.
//
// A process must not read its own mount: a render that waits for itself never
// ends. Tests read from a subprocess.
//
// The protocol is that of include/uapi/linux/fuse.h. Requests on the hot path
// (LOOKUP, GETATTR, READ, FORGET) are answered here, without an allocation;
// INIT, STATFS and READDIR go through go-fuse's ProtocolServer. It imports no other package of
// Truesize.
package fuse
