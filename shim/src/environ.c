#include "environ.h"
#include "parse.h"

// Weak: a dynamic program without a libc has none, and a strong reference
// would keep it from starting.
extern char **environ WEAK;

static const char name[] = "NUM_CPUS=";

// Where NUM_CPUS was found last. A pod can have thousands of variables (one
// set per Service of its namespace), too many to look through at every call.
// When environ is still the same array, slot still holds entry and before is
// still the one before it, the rest of what was learnt holds too: setenv and
// unsetenv of the variable change one of them. Where it was absent, slot is the
// end: a variable added moves the end, and one added after another was removed,
// which leaves the end where it was, is a new last one.
// Readers check the sequence number; it is odd while someone writes.
static struct {
	uint64_t sequence;
	char **array;
	char **slot;
	char *entry;
	char *before;
} found;

static bool is_num_cpus(const char *entry)
{
	for (const char *p = name; *p != '\0'; p++, entry++) {
		if (*entry != *p)
			return false;
	}
	return true;
}

// entry_before returns what is before slot in array, NULL at its begin.
static char *entry_before(char **array, char **slot)
{
	return slot == array ? NULL : slot[-1];
}

// remember writes found, unless someone else is at it: a signal handler or a
// thread that a fork left behind must not be waited for.
static void remember(char **array, char **slot, char *entry)
{
	uint64_t sequence = __atomic_load_n(&found.sequence, __ATOMIC_RELAXED);

	if (sequence % 2 != 0 || !__atomic_compare_exchange_n(&found.sequence, &sequence, sequence + 1, false,
							      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	// The odd number is seen before the first store, the even after the last.
	__atomic_thread_fence(__ATOMIC_RELEASE);
	__atomic_store_n(&found.array, array, __ATOMIC_RELAXED);
	__atomic_store_n(&found.slot, slot, __ATOMIC_RELAXED);
	__atomic_store_n(&found.entry, entry, __ATOMIC_RELAXED);
	__atomic_store_n(&found.before, entry_before(array, slot), __ATOMIC_RELAXED);
	__atomic_store_n(&found.sequence, sequence + 2, __ATOMIC_RELEASE);
}

// recall returns the slot of NUM_CPUS in array if it is where it was, else
// NULL.
static char **recall(char **array)
{
	uint64_t sequence = __atomic_load_n(&found.sequence, __ATOMIC_ACQUIRE);
	char **in = __atomic_load_n(&found.array, __ATOMIC_RELAXED);
	char **slot = __atomic_load_n(&found.slot, __ATOMIC_RELAXED);
	char *entry = __atomic_load_n(&found.entry, __ATOMIC_RELAXED);
	char *before = __atomic_load_n(&found.before, __ATOMIC_RELAXED);

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (sequence % 2 != 0 || __atomic_load_n(&found.sequence, __ATOMIC_RELAXED) != sequence)
		return NULL;
	return in == array && *slot == entry && entry_before(array, slot) == before ? slot : NULL;
}

// look_up returns the slot of NUM_CPUS in array, or the end of array.
static char **look_up(char **array)
{
	char **slot = array;

	while (*slot != NULL && !is_num_cpus(*slot))
		slot++;
	remember(array, slot, *slot);
	return slot;
}

int env_num_cpus(void)
{
	char **array = &environ == NULL ? NULL : environ;

	if (array == NULL)
		return 0;
	char **slot = recall(array);
	if (slot == NULL)
		slot = look_up(array);
	const char *entry = *slot;
	return entry == NULL ? 0 : parse_num_cpus(entry + sizeof name - 1);
}
