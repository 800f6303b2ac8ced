#include "environ.h"
#include "numcpus.h"

// Weak: a dynamic program without a libc has none, and a strong reference
// would keep it from starting.
extern char **environ WEAK;

static const char name[] = "NUM_CPUS=";

// value_of returns what follows "NUM_CPUS=" in entry, NULL for another name.
static const char *value_of(const char *entry)
{
	for (const char *p = name; *p != '\0'; p++, entry++) {
		if (*entry != *p)
			return NULL;
	}
	return entry;
}

int env_num_cpus(void)
{
	if (&environ == NULL || environ == NULL)
		return 0;
	for (char **e = environ; *e != NULL; e++) {
		const char *value = value_of(*e);
		if (value != NULL)
			return parse_num_cpus(value);
	}
	return 0;
}
