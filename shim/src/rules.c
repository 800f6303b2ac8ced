#include "rules.h"
#include "parse.h"

bool valid_page(const struct size_page *page)
{
	return page->magic == SIZE_PAGE_MAGIC && page->version == SIZE_PAGE_VERSION;
}

int decide_cpus(const struct size_page *page, int env)
{
	uint32_t cpus = page == NULL ? 0 : LOAD(page->cpus);

	if (cpus > MAX_CPUS)
		cpus = 0;
	if (env > 0 && (cpus == 0 || (uint32_t)env != LOAD(page->injected_cpus)))
		return env;
	return (int)cpus;
}

bool oversized(const struct size_page *page, int cpus)
{
	if (page == NULL)
		return false;
	uint32_t usable = LOAD(page->usable_cpus);
	return usable > 0 && (uint32_t)cpus > usable;
}

_Static_assert(sizeof(struct sysinfo) == 112, "the kernel's layout");

// MAX_LOAD_AGE is six of the kernel's 5-second load periods.
enum { MAX_LOAD_AGE = 30 };

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t remaining_memory(uint64_t total, uint64_t used, uint64_t node_free)
{
	if (used == UNKNOWN)
		return min(total, node_free);
	return total > used ? total - used : 0;
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
	info->free_ram = remaining_memory(memory, used->memory, info->free_ram * unit);
	info->total_ram = memory;
	info->free_swap = remaining_memory(swap, used->swap, info->free_swap * unit);
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
