// Another preloaded library, which answers one name and asks on for the rest.
#define _GNU_SOURCE
#include <dlfcn.h>

long sysconf(int name)
{
	long (*next)(int) = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");

	return name == 9999 ? 4321 : next(name);
}
