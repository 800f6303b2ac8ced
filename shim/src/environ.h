// The process's environment.
#ifndef TRUESIZE_ENVIRON_H
#define TRUESIZE_ENVIRON_H

#include "types.h"

// env_num_cpus returns what NUM_CPUS says now, 0 when it is unset or garbage.
HIDDEN int env_num_cpus(void);

#endif
