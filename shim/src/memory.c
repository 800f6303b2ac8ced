#include "memory.h"
#include "errno.h"
#include "meter.h"
#include "size.h"
#include "syscall.h"

_Static_assert(sizeof(struct sysinfo) == 112, "the kernel's layout");

// MAX_LOAD_AGE is six of the kernel's 5-second load periods.
enum { MAX_LOAD_AGE = 30 };

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

// remaining returns total - used. Where use is unknown, or that of more than
// the container, it is the node's free amount as far as the container's goes.
static uint64_t remaining(uint64_t total, uint64_t used, uint64_t node_free)
{
	return used <= total ? total - used : min(total, node_free);
}

bool fresh_loads(const struct size_page *page, uint64_t now)
{
	uint64_t time = LOAD(page->load_time);

	return time != 0 && now <= time + MAX_LOAD_AGE;
}

static void contain_loads(struct sysinfo *info, const struct size_page *page)
{
	if (!fresh_loads(page, (uint64_t)info->uptime))
		return;
	for (int i = 0; i < 3; i++)
		info->loads[i] = LOAD(page->loads[i]);
}

static void contain_uptime(struct sysinfo *info, const struct size_page *page)
{
	uint64_t start = LOAD(page->start);

	if (start != 0 && (uint64_t)info->uptime >= start)
		info->uptime -= (int64_t)start;
}

void contain(struct sysinfo *info, const struct size_page *page, const struct usage *used)
{
	uint64_t memory = LOAD(page->memory), swap = LOAD(page->swap), unit = info->unit > 0 ? info->unit : 1;

	contain_loads(info, page); // before uptime: it needs the node's
	contain_uptime(info, page);
	if (memory == 0)
		return;
	info->free_ram = remaining(memory, used->memory, info->free_ram * unit);
	info->total_ram = memory;
	info->free_swap = remaining(swap, used->swap, info->free_swap * unit);
	info->total_swap = swap;
	// What of the node's shared memory is the container's is not known here;
	// a cgroup has no buffers.
	info->shared_ram = 0;
	info->buffer_ram = 0;
	info->total_high = 0;
	info->free_high = 0;
	info->unit = 1;
	if (used->tasks != UNKNOWN)
		info->processes = (uint16_t)min(used->tasks, UINT16_MAX);
}

EXPORT int sysinfo(struct sysinfo *info)
{
	long error = syscall3(SYS_sysinfo, (long)info, 0, 0);
	const struct size_page *page = size_page();

	if (error < 0)
		return fail(-error);
	if (page == NULL)
		return 0;
	bool swaps = LOAD(page->swap) > 0;
	struct usage used = {used_memory(), swaps ? used_swap() : 0, used_tasks()};
	contain(info, page, &used);
	return 0;
}

uint64_t free_memory(void)
{
	struct sysinfo info;
	uint64_t total = size_memory(), used = used_memory();

	if (used <= total)
		return total - used;
	if (syscall3(SYS_sysinfo, (long)&info, 0, 0) < 0)
		return total;
	return min(total, info.free_ram * info.unit);
}
