// The rules by which an answer is made of what is known: no system call, no
// state.
#ifndef TRUESIZE_RULES_H
#define TRUESIZE_RULES_H

#include "page.h"

// valid_page tells whether this version can read a page.
HIDDEN bool valid_page(const struct size_page *page);

// decide_cpus returns the number of CPUs to report, 0 for the real one.
// NUM_CPUS (env, 0 without a good one) wins when it is not the value the
// container was given; then the page, which alone knows of a resize.
HIDDEN int decide_cpus(const struct size_page *page, int env);

// oversized tells whether the page promises more CPUs than the container can
// run on.
HIDDEN bool oversized(const struct size_page *page, int cpus);

// The kernel's struct sysinfo on 64-bit machines (<linux/sysinfo.h>).
struct sysinfo {
	int64_t uptime;
	uint64_t loads[3];
	uint64_t total_ram, free_ram, shared_ram, buffer_ram;
	uint64_t total_swap, free_swap;
	uint16_t processes;
	uint64_t total_high, free_high;
	uint32_t unit;
};

// usage is what the container uses; UNKNOWN where it does not show.
struct usage {
	uint64_t memory, swap, tasks;
};

// contain turns the kernel's answer about the node into the container's.
HIDDEN void contain(struct sysinfo *info, const struct size_page *page, const struct usage *used);

// remaining_memory returns total - used, 0 where more is used than an
// annotation promised. Where use is UNKNOWN, it is the node's free amount as
// far as the container's goes.
HIDDEN uint64_t remaining_memory(uint64_t total, uint64_t used, uint64_t node_free);

// fresh_loads tells whether the page's load averages are those of the last
// half minute, at now seconds after boot.
HIDDEN bool fresh_loads(const struct size_page *page, uint64_t now);

#endif
