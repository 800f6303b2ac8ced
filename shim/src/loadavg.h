// Load averages.
#ifndef TRUESIZE_LOADAVG_H
#define TRUESIZE_LOADAVG_H

#include "types.h"

// parse_loadavg reads the three numbers that /proc/loadavg begins with, and
// tells whether text of length bytes has them.
HIDDEN bool parse_loadavg(const char *text, size_t length, double loads[3]);

#endif
