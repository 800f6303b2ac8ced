// Prints what a program sees through its libc.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <unistd.h>

int main(void)
{
	cpu_set_t set;
	struct sysinfo info;

	sched_getaffinity(0, sizeof set, &set);
	sysinfo(&info);
	printf("online=%ld\naffinity=%d\nmemory=%lu\npages=%llu\n", sysconf(_SC_NPROCESSORS_ONLN), CPU_COUNT(&set),
	       info.totalram * info.mem_unit,
	       (unsigned long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
	return 0;
}
