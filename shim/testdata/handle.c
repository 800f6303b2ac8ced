// Asks for the number of CPUs by the libc's own handle, as foreign-function
// interfaces do with a library's name, and by the program's.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

static int nprocs(const char *library)
{
	int (*ask)(void) = (int (*)(void))dlsym(dlopen(library, RTLD_NOW), "get_nprocs");

	return ask();
}

int main(void)
{
	printf("%d %d\n", nprocs("libc.so.6"), nprocs(NULL));
	return 0;
}
