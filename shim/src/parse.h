// Parsers of text that others wrote.
#ifndef TRUESIZE_PARSE_H
#define TRUESIZE_PARSE_H

#include "types.h"

// MAX_CPUS is the largest count that is believed: the most that Linux can be
// built for (NR_CPUS, x86 with MAXSMP).
enum { MAX_CPUS = 8192 };

// UNKNOWN is the amount that a file does not tell.
#define UNKNOWN UINT64_MAX

// parse_num_cpus returns the value of NUM_CPUS, or 0 when s is not a plain
// decimal number from 1 to MAX_CPUS.
HIDDEN int parse_num_cpus(const char *s);

// parse_number returns the decimal number that text of length bytes begins
// with and a newline ends, else UNKNOWN.
HIDDEN uint64_t parse_number(const char *text, size_t length);

// parse_loadavg reads the three numbers that /proc/loadavg begins with, and
// tells whether text of length bytes has them.
HIDDEN bool parse_loadavg(const char *text, size_t length, double loads[3]);

#endif
