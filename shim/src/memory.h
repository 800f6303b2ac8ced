// Memory, and the rest of sysinfo(2).
#ifndef TRUESIZE_MEMORY_H
#define TRUESIZE_MEMORY_H

#include "page.h"

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

// free_memory returns the container's free memory in bytes, as MemFree: of
// its memory, what is charged for nothing.
HIDDEN uint64_t free_memory(void);

// contain turns the kernel's answer about the node into the container's.
HIDDEN void contain(struct sysinfo *info, const struct size_page *page, const struct usage *used);

// fresh_loads tells whether the page's load averages are those of the last
// half minute, at now seconds after boot.
HIDDEN bool fresh_loads(const struct size_page *page, uint64_t now);

#endif
