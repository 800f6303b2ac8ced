// calls N: nanoseconds per call of each function, the best of ten rounds of N;
// then waits to be looked at.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

int JVM_ActiveProcessorCount(void) __attribute__((weak));

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

#define TIME(name, times, expression)                                        \
	do {                                                                 \
		double best = 1e18;                                          \
		for (int round = 0; round < 10; round++) {                   \
			double start = now();                                \
			for (long i = 0; i < (times); i++)                   \
				sink += (expression);                        \
			double each = (now() - start) / (times);             \
			best = each < best ? each : best;                    \
		}                                                            \
		printf("%s %.1f\n", name, best);                             \
	} while (0)

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 1;
	volatile long sink = 0;
	cpu_set_t set;
	struct sysinfo info;

	if (JVM_ActiveProcessorCount)
		TIME("JVM_ActiveProcessorCount", n, JVM_ActiveProcessorCount());
	TIME("sysconf(_SC_NPROCESSORS_ONLN)", n / 100 + 1, sysconf(_SC_NPROCESSORS_ONLN));
	TIME("sysconf(_SC_PAGESIZE)", n, sysconf(_SC_PAGESIZE));
	TIME("get_nprocs", n / 100 + 1, get_nprocs());
	TIME("sched_getaffinity", n / 100 + 1, sched_getaffinity(0, sizeof set, &set));
	TIME("sysinfo", n / 100 + 1, sysinfo(&info));
	fflush(stdout);
	getchar();
	return 0;
}
