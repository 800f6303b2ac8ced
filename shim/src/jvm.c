// The JVM's question: java.lang.Runtime.availableProcessors() and all that
// builds on it call JVM_ActiveProcessorCount through the PLT of libjava.

#include "environ.h"
#include "syscall.h"

// A mask for 8192 CPUs, the most that Linux can be built for.
enum { MASK_WORDS = 8192 / 64 };

// real_cpus returns on how many CPUs the calling thread may run, at least 1.
static int real_cpus(void)
{
	uint64_t mask[MASK_WORDS];
	long bytes = syscall3(SYS_sched_getaffinity, 0, sizeof mask, (long)mask);
	int n = 0;

	for (long i = 0; i < bytes / 8; i++) {
		for (uint64_t w = mask[i]; w != 0; w &= w - 1)
			n++;
	}
	return n > 0 ? n : 1;
}

EXPORT int JVM_ActiveProcessorCount(void)
{
	int n = env_num_cpus();

	return n > 0 ? n : real_cpus();
}
