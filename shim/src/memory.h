// Memory.
#ifndef TRUESIZE_MEMORY_H
#define TRUESIZE_MEMORY_H

#include "types.h"

// free_memory returns the container's free memory in bytes, as MemFree: of
// its memory, what is charged for nothing.
HIDDEN uint64_t free_memory(void);

#endif
