// Compiled against oldlibc.map, whose versions it then asks for.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <unistd.h>

int main(void)
{
	cpu_set_t set, thread;
	struct sysinfo info;

	sched_getaffinity(0, sizeof set, &set);
	pthread_getaffinity_np(pthread_self(), sizeof thread, &thread);
	sysinfo(&info);
	printf("%ld %d %d %d %lu %ld\n", sysconf(_SC_NPROCESSORS_ONLN), get_nprocs(), CPU_COUNT(&set), CPU_COUNT(&thread),
	       info.totalram, sysconf(_SC_PAGESIZE));
	return 0;
}
