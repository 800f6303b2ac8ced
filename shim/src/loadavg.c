// getloadavg(3). glibc read /proc/loadavg until 2.34, where the container has
// its own; since then, and in musl, it asks sysinfo(2), which tells the node's.

#include "elf.h"
#include "meter.h"
#include "page.h"
#include "parse.h"
#include "rules.h"
#include "syscall.h"

typedef int getloadavg_(double *loads, int n);

static bool loads_of_page(double loads[3])
{
	const struct size_page *page = size_page();
	int64_t now[2];

	if (page == NULL || syscall3(SYS_clock_gettime, CLOCK_BOOTTIME_, (long)now, 0) < 0)
		return false;
	if (!fresh_loads(page, (uint64_t)now[0]))
		return false;
	for (int i = 0; i < 3; i++)
		loads[i] = LOAD(page->loads[i]) / 65536.0;
	return true;
}

static bool loads_of_proc(double loads[3])
{
	char text[128];
	long n = read_file("/proc/loadavg", text, sizeof text);

	return n > 0 && parse_loadavg(text, (size_t)n, loads);
}

EXPORT int getloadavg(double *loads, int n)
{
	double three[3];

	if (n > 0 && (loads_of_page(three) || loads_of_proc(three))) {
		n = n < 3 ? n : 3;
		for (int i = 0; i < n; i++)
			loads[i] = three[i];
		return n;
	}
	getloadavg_ *next = NEXT(getloadavg_, "getloadavg");
	return next == NULL ? -1 : next(loads, n);
}
