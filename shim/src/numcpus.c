#include "numcpus.h"

int parse_num_cpus(const char *s)
{
	int n = 0;

	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return 0;
		n = n * 10 + (*s - '0');
		if (n > MAX_CPUS)
			return 0;
	}
	return n;
}
