// The size page: a file of one page, mapped read-only into the container, in
// which Truesize keeps the container's size up to date.
//
// It is written in place while programs read it. Every field is one aligned
// word, stored and loaded at once, and means something by itself: there is no
// lock to be held by a writer that died. pkg/registry/sizepage.go writes it;
// both describe the same format.
#ifndef TRUESIZE_PAGE_H
#define TRUESIZE_PAGE_H

#include "types.h"

// SIZE_PAGE_PATH is where the container has its page.
#define SIZE_PAGE_PATH "/dev/truesize/size"

enum {
	SIZE_PAGE_BYTES = 4096,
	SIZE_PAGE_VERSION = 1,
};

// SIZE_PAGE_MAGIC is "TRUESIZE" in little-endian order.
#define SIZE_PAGE_MAGIC UINT64_C(0x455a495345555254)

// A field of 0 is unknown. A later writer may give a meaning to the zeros
// after the last field; any other change is a new version.
struct size_page {
	uint64_t magic;
	uint32_t version;
	uint32_t cpus;          // the container's CPUs, 1 to MAX_CPUS
	uint32_t injected_cpus; // NUM_CPUS as the container was given it
	uint32_t usable_cpus;   // CPUs the container may really run on
	uint32_t possible_cpus; // CPUs the node can ever have
	uint32_t first_cpu;     // where in a mask the container's CPUs begin
	uint64_t memory;        // bytes
	uint64_t swap;          // bytes; 0 is no swap, once memory is known
	uint64_t start;         // of the container, in seconds since boot
	uint64_t load_time;     // of the loads, in seconds since boot
	uint32_t loads[3];      // load averages, in 65536ths
};

// size_page returns the container's page, mapped at the first call; NULL when
// there is none that this version can read.
HIDDEN const struct size_page *size_page(void);

// Loads of a field, each at once.
#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

#endif
