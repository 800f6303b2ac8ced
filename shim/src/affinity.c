// CPU masks of the program's own threads.
//
// A mask read is the real one cut down to the container's CPUs: any program
// may hand it back to the kernel. Where the container is larger than what it
// can run on (an annotation on a small node) the mask is filled up with CPUs
// that are shown in /proc/cpuinfo and do not exist, as the CPUs of a virtual
// machine may outnumber its host's; a thread bound to such a CPU alone runs on
// all the container has. Masks of other processes are the real ones.

#include "elf.h"
#include "errno.h"
#include "mask.h"
#include "page.h"
#include "parse.h"
#include "rules.h"
#include "size.h"
#include "syscall.h"

enum { MAX_WORDS = MAX_CPUS / 64 };

static size_t words_of(size_t bytes)
{
	size_t words = bytes / 8;

	return words < MAX_WORDS ? words : MAX_WORDS;
}

// own tells whether tid is a thread of this process: signal 0 checks that and
// sends nothing.
static bool own(int tid)
{
	return tid == 0 || syscall3(SYS_tgkill, syscall3(SYS_getpid, 0, 0, 0), tid, 0) == 0;
}

// resize makes a thread's real mask that of the container's size. A mask with
// fewer CPUs than the container can run on was narrowed on purpose (taskset,
// the program itself) and stays.
static void resize(mask_word *mask, size_t bytes)
{
	int cpus = size_cpus();
	size_t words = words_of(bytes);
	const struct size_page *page = size_page();

	if (cpus == 0)
		return;
	mask_keep(mask, words, cpus, page == NULL ? 0 : LOAD(page->first_cpu));
	if (oversized(page, cpus) && (uint32_t)mask_count(mask, words) >= LOAD(page->usable_cpus))
		mask_extend(mask, words, cpus);
}

// imaginary tells whether a mask that the kernel refused as one without a CPU
// of the container has one that the container was promised.
static bool imaginary(const mask_word *mask, size_t bytes)
{
	int cpus = size_cpus();

	return oversized(size_page(), cpus) && mask_below(mask, words_of(bytes), cpus);
}

// every_cpu fills a mask; the kernel cuts it to the CPUs the cgroup allows.
static void every_cpu(mask_word mask[MAX_WORDS])
{
	for (int i = 0; i < MAX_WORDS; i++)
		mask[i] = ~UINT64_C(0);
}

EXPORT int sched_getaffinity(int pid, size_t size, mask_word *mask)
{
	// The kernel takes an unsigned int; a larger buffer is large enough.
	size_t asked = size < INT32_MAX ? size : INT32_MAX & ~(size_t)7;
	long bytes = syscall3(SYS_sched_getaffinity, pid, (long)asked, (long)mask);

	if (bytes < 0)
		return fail(-bytes);
	// The kernel takes and writes whole words, as many as it has CPUs for. A
	// libc clears the rest.
	for (size_t i = (size_t)bytes / 8; i < size / 8; i++)
		mask[i] = 0;
	if (own(pid))
		resize(mask, size);
	return 0;
}

EXPORT int sched_setaffinity(int pid, size_t size, const mask_word *mask)
{
	long error = syscall3(SYS_sched_setaffinity, pid, (long)size, (long)mask);

	if (error == -EINVAL_ && own(pid) && imaginary(mask, size)) {
		mask_word all[MAX_WORDS];
		every_cpu(all);
		error = syscall3(SYS_sched_setaffinity, pid, sizeof all, (long)all);
	}
	return error < 0 ? fail(-error) : 0;
}

// A pthread_t is the libc's secret: its own functions find the thread. They
// return an error number.
typedef int getaffinity_np(unsigned long thread, size_t size, mask_word *mask);
typedef int setaffinity_np(unsigned long thread, size_t size, const mask_word *mask);
typedef int attr_setaffinity_np(void *attr, size_t size, const mask_word *mask);

EXPORT int pthread_getaffinity_np(unsigned long thread, size_t size, mask_word *mask)
{
	getaffinity_np *next = NEXT(getaffinity_np, "pthread_getaffinity_np");

	if (next == NULL)
		return ENOSYS_;
	int error = next(thread, size, mask);
	if (error == 0)
		resize(mask, size);
	return error;
}

EXPORT int pthread_setaffinity_np(unsigned long thread, size_t size, const mask_word *mask)
{
	setaffinity_np *next = NEXT(setaffinity_np, "pthread_setaffinity_np");

	if (next == NULL)
		return ENOSYS_;
	int error = next(thread, size, mask);
	if (error == EINVAL_ && imaginary(mask, size)) {
		mask_word all[MAX_WORDS];
		every_cpu(all);
		error = next(thread, sizeof all, all);
	}
	return error;
}

// beyond tells whether all CPUs of a mask are promised ones that the node
// cannot have: a thread created with it would not start.
static bool beyond(const mask_word *mask, size_t bytes)
{
	const struct size_page *page = size_page();
	int cpus = size_cpus();

	if (!oversized(page, cpus))
		return false;
	uint32_t possible = LOAD(page->possible_cpus);
	return possible > 0 && possible < MAX_CPUS && mask_below(mask, words_of(bytes), cpus) &&
	       !mask_below(mask, words_of(bytes), (int)possible);
}

EXPORT int pthread_attr_setaffinity_np(void *attr, size_t size, const mask_word *mask)
{
	attr_setaffinity_np *next = NEXT(attr_setaffinity_np, "pthread_attr_setaffinity_np");

	if (next == NULL)
		return ENOSYS_;
	if (mask != NULL && size > 0 && beyond(mask, size)) {
		mask_word all[MAX_WORDS];
		every_cpu(all);
		return next(attr, sizeof all, all);
	}
	return next(attr, size, mask);
}
