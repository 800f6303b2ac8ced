#include "meter.h"
#include "parse.h"
#include "syscall.h"

#define CGROUP "/sys/fs/cgroup/"

long read_file(const char *path, char *buffer, size_t size)
{
	long fd = sys_open(path);

	if (fd < 0)
		return fd;
	long n = syscall3(SYS_read, fd, (long)buffer, (long)size);
	sys_close(fd);
	return n;
}

static uint64_t read_number(const char *path)
{
	char text[32];
	long n = read_file(path, text, sizeof text);

	return n < 0 ? UNKNOWN : parse_number(text, (size_t)n);
}

static uint64_t first_of(const char *v2, const char *v1)
{
	uint64_t n = read_number(v2);

	return n != UNKNOWN ? n : read_number(v1);
}

uint64_t used_memory(void)
{
	return first_of(CGROUP "memory.current", CGROUP "memory/memory.usage_in_bytes");
}

// On v1 the memory-and-swap counter includes memory, read a moment before it.
uint64_t used_swap(void)
{
	uint64_t swap = read_number(CGROUP "memory.swap.current");

	if (swap != UNKNOWN)
		return swap;
	uint64_t memory = read_number(CGROUP "memory/memory.usage_in_bytes");
	uint64_t both = read_number(CGROUP "memory/memory.memsw.usage_in_bytes");
	if (memory == UNKNOWN || both == UNKNOWN)
		return UNKNOWN;
	return both > memory ? both - memory : 0;
}

uint64_t used_tasks(void)
{
	return first_of(CGROUP "pids.current", CGROUP "pids/pids.current");
}
