#include "size.h"
#include "environ.h"
#include "numcpus.h"

int decide_cpus(const struct size_page *page, int env)
{
	uint32_t cpus = page == NULL ? 0 : LOAD(page->cpus);

	if (cpus > MAX_CPUS)
		cpus = 0;
	if (env > 0 && (cpus == 0 || (uint32_t)env != LOAD(page->injected_cpus)))
		return env;
	return (int)cpus;
}

int size_cpus(void)
{
	return decide_cpus(size_page(), env_num_cpus());
}

uint64_t size_memory(void)
{
	const struct size_page *page = size_page();

	return page == NULL ? 0 : LOAD(page->memory);
}

bool oversized(const struct size_page *page, int cpus)
{
	if (page == NULL)
		return false;
	uint32_t usable = LOAD(page->usable_cpus);
	return usable > 0 && (uint32_t)cpus > usable;
}
