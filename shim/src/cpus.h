// Counts of CPUs.
#ifndef TRUESIZE_CPUS_H
#define TRUESIZE_CPUS_H

#include "types.h"

// online_cpus returns the container's CPUs, or real where no size is known.
HIDDEN long online_cpus(long real);

// configured_cpus returns the bound of CPU numbers: the node's (real is the
// libc's answer), or the container's CPUs where those are more.
HIDDEN long configured_cpus(long real);

#endif
