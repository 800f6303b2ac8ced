// The container's size, from what knows it best.
#ifndef TRUESIZE_SIZE_H
#define TRUESIZE_SIZE_H

#include "page.h"

// size_cpus returns the number of CPUs to report, 1 to MAX_CPUS; 0 means that
// nobody said, and the real answer is due.
HIDDEN int size_cpus(void);

// decide_cpus is the rule of size_cpus. NUM_CPUS (env, 0 without a good one)
// wins when it is not the value the container was given; then the page, which
// alone knows of a resize.
HIDDEN int decide_cpus(const struct size_page *page, int env);

// size_memory returns the memory to report in bytes, 0 for the real answer.
HIDDEN uint64_t size_memory(void);

// oversized tells whether the page promises more CPUs than the container can
// run on.
HIDDEN bool oversized(const struct size_page *page, int cpus);

#endif
