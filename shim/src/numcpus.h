// NUM_CPUS, the environment variable that says how many CPUs to report.
#ifndef TRUESIZE_NUMCPUS_H
#define TRUESIZE_NUMCPUS_H

#include "types.h"

// MAX_CPUS is the largest count that is believed: the most that Linux can be
// built for (NR_CPUS, x86 with MAXSMP).
enum { MAX_CPUS = 8192 };

// parse_num_cpus returns the value of NUM_CPUS, or 0 when s is not a plain
// decimal number from 1 to MAX_CPUS.
HIDDEN int parse_num_cpus(const char *s);

#endif
