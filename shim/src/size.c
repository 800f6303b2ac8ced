#include "size.h"
#include "environ.h"
#include "rules.h"

int size_cpus(void)
{
	return decide_cpus(size_page(), env_num_cpus());
}

uint64_t size_memory(void)
{
	const struct size_page *page = size_page();

	return page == NULL ? 0 : LOAD(page->memory);
}
