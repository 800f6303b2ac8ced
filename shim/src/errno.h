// The calling thread's errno, which glibc and musl both give by a function.
#ifndef TRUESIZE_ERRNO_H
#define TRUESIZE_ERRNO_H

#include "types.h"

// fail sets errno to error and returns -1.
HIDDEN int fail(long error);

#endif
