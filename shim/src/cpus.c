// Counts of CPUs, by the libc's functions and the JVM's.

#include "cpus.h"
#include "elf.h"
#include "hotspot.h"
#include "mask.h"
#include "page.h"
#include "parse.h"
#include "size.h"
#include "syscall.h"

typedef int count(void);

long online_cpus(long real)
{
	int cpus = size_cpus();

	return cpus > 0 ? cpus : real;
}

// Programs allocate an array of this many elements and index it by
// sched_getcpu(), which is a CPU of the node: ZGC (openjdk/jdk#2077) and
// tcmalloc (google/tcmalloc#245) crash when it is too low. So it is never
// below the node's, not even where a libc counts /sys/devices/system/cpu/cpu*,
// which show the container's CPUs.
long configured_cpus(long real)
{
	const struct size_page *page = size_page();
	long cpus = size_cpus();
	long possible = page == NULL ? 0 : LOAD(page->possible_cpus);

	if (cpus < possible && possible <= MAX_CPUS)
		cpus = possible;
	return cpus > real ? cpus : real;
}

// real_cpus returns on how many CPUs the calling thread may run, at least 1.
static int real_cpus(void)
{
	mask_word mask[MAX_CPUS / 64];
	long bytes = syscall3(SYS_sched_getaffinity, 0, sizeof mask, (long)mask);
	int n = bytes < 0 ? 0 : mask_count(mask, (size_t)bytes / 8);

	return n > 0 ? n : 1;
}

static int next_count(count *next)
{
	return next != NULL ? next() : real_cpus();
}

EXPORT int get_nprocs(void)
{
	int cpus = size_cpus();

	return cpus > 0 ? cpus : next_count(NEXT(count, "get_nprocs"));
}

EXPORT int get_nprocs_conf(void)
{
	return (int)configured_cpus(next_count(NEXT(count, "get_nprocs_conf")));
}

// Runtime.availableProcessors(), OperatingSystemMXBean and all that builds on
// them ask libjvm by this name, through the PLT of libjava and libmanagement.
// A count given to this very JVM by a flag goes before the container's, as it
// does for the JVM's own threads.
EXPORT int JVM_ActiveProcessorCount(void)
{
	int flag = active_processor_count_flag();
	int cpus = flag > 0 ? flag : size_cpus();

	return cpus > 0 ? cpus : next_count(NEXT(count, "JVM_ActiveProcessorCount"));
}
