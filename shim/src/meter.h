// What the container uses, from its cgroup's files as it sees them, v2 or v1.
//
// They are the kernel's own files: an answer never waits for a process of
// Truesize, as a read of the view in /proc might.
#ifndef TRUESIZE_METER_H
#define TRUESIZE_METER_H

#include "types.h"

// Each is UNKNOWN where the container shows no such file.
HIDDEN uint64_t used_memory(void); // bytes, page cache included
HIDDEN uint64_t used_swap(void);   // bytes
HIDDEN uint64_t used_tasks(void);  // processes and threads

// read_file reads the first size bytes of a file at most, and returns how
// many, or -errno.
HIDDEN long read_file(const char *path, char *buffer, size_t size);

#endif
