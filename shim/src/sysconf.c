// sysconf(3): four names are the container's, the others the libc's own.

#include "cpus.h"
#include "elf.h"
#include "errno.h"
#include "memory.h"
#include "size.h"
#include "syscall.h"

// The numbers of <unistd.h>, the same in glibc and musl.
enum {
	SC_PAGESIZE = 30,
	SC_NPROCESSORS_CONF = 83,
	SC_NPROCESSORS_ONLN = 84,
	SC_PHYS_PAGES = 85,
	SC_AVPHYS_PAGES = 86,
};

typedef long sysconf_(int name);

static long real_sysconf(int name)
{
	sysconf_ *next = NEXT(sysconf_, "sysconf");

	return next != NULL ? next(name) : fail(EINVAL_);
}

// pages returns bytes in pages, or the libc's answer to name without a size.
static long pages(uint64_t bytes, int name)
{
	long page = real_sysconf(SC_PAGESIZE);

	if (size_memory() == 0 || page <= 0)
		return real_sysconf(name);
	return (long)(bytes / (uint64_t)page);
}

static long container_sysconf(int name)
{
	switch (name) {
	case SC_NPROCESSORS_ONLN:
		return size_cpus() > 0 ? online_cpus(1) : real_sysconf(name);
	case SC_NPROCESSORS_CONF:
		return configured_cpus(real_sysconf(name));
	case SC_PHYS_PAGES:
		return pages(size_memory(), name);
	case SC_AVPHYS_PAGES:
		return pages(free_memory(), name);
	default:
		return real_sysconf(name);
	}
}

EXPORT long sysconf(int name)
{
	return container_sysconf(name);
}

// glibc's own name for it.
EXPORT long __sysconf(int name)
{
	return container_sysconf(name);
}

EXPORT long get_phys_pages(void)
{
	return container_sysconf(SC_PHYS_PAGES);
}

EXPORT long get_avphys_pages(void)
{
	return container_sysconf(SC_AVPHYS_PAGES);
}
