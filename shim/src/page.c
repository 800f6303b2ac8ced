#include "page.h"
#include "rules.h"
#include "syscall.h"

_Static_assert(sizeof(struct size_page) == 80, "the layout is a file format");

// The page once mapped, NONE when there is none, NULL before the first call.
// Threads that come first together each map it, and all but one let go.
static const struct size_page *mapped;
static const struct size_page none;
#define NONE (&none)

// for_good tells whether an error will be the same at the next call: out of
// descriptors, for one, will not.
static bool for_good(long error)
{
	return error == -ENOENT_ || error == -ENOTDIR_ || error == -EACCES_ || error == -ELOOP_;
}

static bool is_error(long result)
{
	return result < 0 && result >= -4095;
}

// map_file returns the page in an open file, NONE, or NULL when it cannot tell
// now. A file shorter than a page is never touched: a read past its end is a
// SIGBUS.
static const struct size_page *map_file(long fd)
{
	if (syscall3(SYS_lseek, fd, 0, SEEK_END_) < SIZE_PAGE_BYTES)
		return NONE;
	long map = syscall6(SYS_mmap, 0, SIZE_PAGE_BYTES, PROT_READ_, MAP_SHARED_, fd, 0);
	if (is_error(map))
		return NULL;
	if (valid_page((const struct size_page *)map))
		return (const struct size_page *)map;
	syscall3(SYS_munmap, map, SIZE_PAGE_BYTES, 0);
	return NONE;
}

static const struct size_page *map_page(void)
{
	long fd = sys_open(SIZE_PAGE_PATH);

	if (fd < 0)
		return for_good(fd) ? NONE : NULL;
	const struct size_page *page = map_file(fd);
	sys_close(fd);
	return page;
}

static const struct size_page *first_call(void)
{
	const struct size_page *page = map_page();
	const struct size_page *before = NULL;

	if (page == NULL)
		return NONE;
	if (__atomic_compare_exchange_n(&mapped, &before, page, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return page;
	if (page != NONE)
		syscall3(SYS_munmap, (long)page, SIZE_PAGE_BYTES, 0);
	return before;
}

const struct size_page *size_page(void)
{
	const struct size_page *page = __atomic_load_n(&mapped, __ATOMIC_ACQUIRE);

	if (page == NULL)
		page = first_call();
	return page == NONE ? NULL : page;
}
