// sysinfo(2), and free memory by itself.

#include "memory.h"
#include "errno.h"
#include "meter.h"
#include "parse.h"
#include "rules.h"
#include "size.h"
#include "syscall.h"

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

	if (used != UNKNOWN)
		return remaining_memory(total, used, 0);
	if (syscall3(SYS_sysinfo, (long)&info, 0, 0) < 0)
		return total;
	return remaining_memory(total, used, info.free_ram * info.unit);
}
