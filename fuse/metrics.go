package fuse

import "github.com/truesize/truesize/fuse/promtext"

// opNames are the operations as fuse.h calls them. The kernel of the day may
// know more: those are "other".
var opNames = [opcodes]string{
	1: "lookup", 2: "forget", 3: "getattr", 4: "setattr", 5: "readlink", 6: "symlink",
	8: "mknod", 9: "mkdir", 10: "unlink", 11: "rmdir", 12: "rename", 13: "link", 14: "open",
	15: "read", 16: "write", 17: "statfs", 18: "release", 20: "fsync", 21: "setxattr",
	22: "getxattr", 23: "listxattr", 24: "removexattr", 25: "flush", 26: "init", 27: "opendir",
	28: "readdir", 29: "releasedir", 30: "fsyncdir", 31: "getlk", 32: "setlk", 33: "setlkw",
	34: "access", 35: "create", 36: "interrupt", 37: "bmap", 38: "destroy", 39: "ioctl",
	40: "poll", 41: "notify_reply", 42: "batch_forget", 43: "fallocate", 44: "readdirplus",
	45: "rename2", 46: "lseek", 47: "copy_file_range", 48: "setupmapping", 49: "removemapping",
	50: "syncfs", 51: "tmpfile", 52: "statx",
}

// WriteMetrics writes the server's counters.
func (s *Server) WriteMetrics(w *promtext.Writer) {
	const requests = "truesize_viewd_requests_total"
	w.Metric(requests, promtext.Counter, "Requests the kernel sent, by operation.")
	var other uint64
	for op := range s.stats.requests {
		n := s.stats.requests[op].Load()
		switch {
		case opNames[op] == "":
			other += n
		case n > 0:
			w.Sample(requests, float64(n), "op", opNames[op])
		}
	}
	w.Sample(requests, float64(other), "op", "other")

	for _, m := range []struct {
		name, help string
		value      uint64
	}{
		{"truesize_viewd_invalidations_total", "Inodes and entries the kernel was told to forget.", s.stats.invalidations.Load()},
		{"truesize_viewd_prepared_reads_total", "Files read for the kernel's cache because a reader was foreseen.", s.stats.prepared.Load()},
		{"truesize_viewd_unknown_containers_total", "Look-ups of containers that are not in the registry.", s.stats.unknownIDs.Load()},
		{"truesize_viewd_stale_nodes_total", "Requests for files of containers that are gone.", s.stats.staleNodes.Load()},
		{"truesize_viewd_malformed_requests_total", "Requests that could not be parsed.", s.stats.malformed.Load() + s.stats.protocolErrors.n.Load()},
		{"truesize_viewd_write_errors_total", "Replies and notifications that the kernel refused.", s.stats.writeErrors.Load()},
		{"truesize_viewd_panics_total", "Requests that panicked and were answered with an error.", s.stats.panics.Load()},
	} {
		w.One(m.name, promtext.Counter, m.help, float64(m.value))
	}
	s.mu.RLock()
	n := len(s.byHash)
	s.mu.RUnlock()
	w.One("truesize_viewd_containers", promtext.Gauge, "Containers that have a view.", float64(n))
}
