// A libjvm as far as the shim reads one: the tables that describe its flags,
// with fields in an order of their own, and a count of CPUs.
#include <stddef.h>
#include <stdint.h>

#ifndef TYPE
#define TYPE "JVMFlag"
#endif

int JVM_ActiveProcessorCount(void)
{
	return 55;
}

#ifdef FLAG
struct flag {
	uint64_t other;
	const char *_name;
	int type;
	void *_addr;
};

struct field {
	uint64_t offset;
	const char *type_string, *field_name;
	int is_static;
	void *address;
	const char *type_name;
};

struct type {
	const char *superclass, *type_name;
	int a, b, c;
	uint64_t size;
};

static int value = FLAG;
static long long_value = 99;
static struct flag table[] = {
	{1, NULL, 0, NULL},
	{1, "ActiveProcessorCountX", 0, &long_value},
	{1, "ActiveProcessor", 0, &long_value},
	{1, "ActiveProcessorCount", 1, &value},
};
static struct flag *flags = table;
static size_t number = sizeof table / sizeof *table;

static struct field fields[] = {
	{77, "int", "flags", 1, &long_value, "Other"},
	{0, "size_t", "numFlags", 1, &number, TYPE},
	{0, "JVMFlag*", "flags", 1, &flags, TYPE},
	{offsetof(struct flag, _addr), "void*", "_addr", 0, NULL, TYPE},
	{offsetof(struct flag, _name), "const char*", "_name", 0, NULL, TYPE},
	{0},
};
static struct type types[] = {{NULL, "Other", 0, 0, 0, 1}, {NULL, TYPE, 0, 0, 0, sizeof(struct flag)}, {0}};

struct field *gHotSpotVMStructs = fields;
uint64_t gHotSpotVMStructEntryTypeNameOffset = offsetof(struct field, type_name);
uint64_t gHotSpotVMStructEntryFieldNameOffset = offsetof(struct field, field_name);
uint64_t gHotSpotVMStructEntryOffsetOffset = offsetof(struct field, offset);
uint64_t gHotSpotVMStructEntryAddressOffset = offsetof(struct field, address);
uint64_t gHotSpotVMStructEntryArrayStride = sizeof(struct field);
struct type *gHotSpotVMTypes = types;
uint64_t gHotSpotVMTypeEntryTypeNameOffset = offsetof(struct type, type_name);
uint64_t gHotSpotVMTypeEntrySizeOffset = offsetof(struct type, size);
uint64_t gHotSpotVMTypeEntryArrayStride = sizeof(struct type);
#endif
