// The process's environment.
#ifndef TRUESIZE_ENVIRON_H
#define TRUESIZE_ENVIRON_H

#include "types.h"

// env_num_cpus returns what NUM_CPUS says now, 0 when it is unset or garbage.
// It reads the live environment, as getenv does, so that a program that calls
// setenv for itself is heard; like getenv, it must not run while another
// thread changes the environment.
HIDDEN int env_num_cpus(void);

#endif
