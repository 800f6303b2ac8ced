// Tells its number of CPUs and whether the loader distrusts its environment.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/auxv.h>
#include <unistd.h>

int main(void)
{
	printf("%lu %ld\n", getauxval(AT_SECURE), sysconf(_SC_NPROCESSORS_ONLN));
	return 0;
}
