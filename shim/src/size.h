// The container's size, from what knows it best.
#ifndef TRUESIZE_SIZE_H
#define TRUESIZE_SIZE_H

#include "types.h"

// size_cpus returns the number of CPUs to report, 1 to MAX_CPUS; 0 means that
// nobody said, and the real answer is due.
HIDDEN int size_cpus(void);

// size_memory returns the memory to report in bytes, 0 for the real answer.
HIDDEN uint64_t size_memory(void);

#endif
