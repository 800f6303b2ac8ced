// Prints the machine's size at each change, with the pid: CPUs online, CPUs in
// the mask, MiB of memory.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	char last[64] = "", size[64];

	for (;; usleep(20000)) {
		cpu_set_t mask;
		CPU_ZERO(&mask);
		sched_getaffinity(0, sizeof mask, &mask);
		snprintf(size, sizeof size, "%d %ld %d %ld", getpid(), sysconf(_SC_NPROCESSORS_ONLN), CPU_COUNT(&mask),
			 (sysconf(_SC_PHYS_PAGES) >> 10) * (sysconf(_SC_PAGESIZE) >> 10));
		if (strcmp(size, last) != 0) {
			puts(size);
			fflush(stdout);
			strcpy(last, size);
		}
	}
}
