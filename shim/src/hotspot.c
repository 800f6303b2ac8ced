// libjvm describes its data structures to debuggers by tables that it exports
// (hotspot/share/runtime/vmStructs.cpp; jhsdb reads them): where a field is,
// and how long an array's elements are, so that a reader need not be of the
// JVM's version. They lead to the array of flags.

#include "hotspot.h"
#include "elf.h"

// JVMFlag was Flag before JDK 10.
static const char *const flag_types[] = {"JVMFlag", "Flag"};

struct flags {
	const char *array;
	uint64_t count, element, name, value;
};

// number returns an exported 64-bit constant, 0 without it.
static uint64_t number(const char *symbol)
{
	const uint64_t *n = next_data(symbol);

	return n == NULL ? 0 : *n;
}

static const char *table(const char *symbol)
{
	const char *const *t = next_data(symbol);

	return t == NULL ? NULL : *t;
}

static const char *string_at(const char *entry, uint64_t offset)
{
	return *(const char *const *)(entry + offset);
}

// field finds what the table of fields says of type's field: its offset, or
// for a static one its address. It returns 0 without it.
static uint64_t field(const char *type, const char *name, bool is_static)
{
	uint64_t type_at = number("gHotSpotVMStructEntryTypeNameOffset");
	uint64_t name_at = number("gHotSpotVMStructEntryFieldNameOffset");
	uint64_t value_at = number(is_static ? "gHotSpotVMStructEntryAddressOffset" : "gHotSpotVMStructEntryOffsetOffset");
	uint64_t stride = number("gHotSpotVMStructEntryArrayStride");
	const char *entry = table("gHotSpotVMStructs");

	if (entry == NULL || stride == 0)
		return 0;
	for (; string_at(entry, type_at) != NULL; entry += stride) {
		if (same_string(string_at(entry, type_at), type) && same_string(string_at(entry, name_at), name))
			return *(const uint64_t *)(entry + value_at);
	}
	return 0;
}

static uint64_t size_of(const char *type)
{
	uint64_t type_at = number("gHotSpotVMTypeEntryTypeNameOffset");
	uint64_t size_at = number("gHotSpotVMTypeEntrySizeOffset");
	uint64_t stride = number("gHotSpotVMTypeEntryArrayStride");
	const char *entry = table("gHotSpotVMTypes");

	if (entry == NULL || stride == 0)
		return 0;
	for (; string_at(entry, type_at) != NULL; entry += stride) {
		if (same_string(string_at(entry, type_at), type))
			return *(const uint64_t *)(entry + size_at);
	}
	return 0;
}

static bool find_flags(const char *type, struct flags *f)
{
	uint64_t array = field(type, "flags", true);
	uint64_t count = field(type, "numFlags", true);

	f->element = size_of(type);
	if (array == 0 || count == 0 || f->element == 0)
		return false;
	f->array = *(const char *const *)array;
	f->count = *(const uint64_t *)count;
	f->name = field(type, "_name", false);
	f->value = field(type, "_addr", false);
	return f->array != NULL && f->name != f->value;
}

// int_flag returns the value of a flag of type int, 0 without it.
static int int_flag(const struct flags *f, const char *name)
{
	const char *element = f->array;

	for (uint64_t i = 0; i < f->count; i++, element += f->element) {
		const char *its = string_at(element, f->name);
		if (its != NULL && same_string(its, name)) {
			const int *value = *(const int *const *)(element + f->value);
			return value == NULL ? 0 : *value;
		}
	}
	return 0;
}

static int look_up(void)
{
	struct flags f;

	for (size_t i = 0; i < sizeof flag_types / sizeof *flag_types; i++) {
		if (find_flags(flag_types[i], &f))
			return int_flag(&f, "ActiveProcessorCount");
	}
	return 0;
}

int active_processor_count_flag(void)
{
	// The command line has been read when Java code first asks, and the flag
	// cannot change later. UNASKED is what no flag holds.
	enum { UNASKED = INT32_MIN };
	static int kept = UNASKED;
	int flag = __atomic_load_n(&kept, __ATOMIC_RELAXED);

	if (flag == UNASKED) {
		flag = look_up();
		__atomic_store_n(&kept, flag, __ATOMIC_RELAXED);
	}
	return flag > 0 ? flag : 0;
}
