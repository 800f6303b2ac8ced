#include "elf.h"

// Of the ELF gABI and the GNU extensions, as far as a look-up needs them.
enum {
	DT_NULL = 0,
	DT_HASH = 4,
	DT_STRTAB = 5,
	DT_SYMTAB = 6,
	DT_GNU_HASH = 0x6ffffef5,
	DT_VERSYM = 0x6ffffff0,

	STT_OBJECT = 1,
	STT_FUNC = 2,
	STB_GLOBAL = 1,
	STB_WEAK = 2,
	SHN_UNDEF = 0,
	VERSYM_HIDDEN = 0x8000, // not the default version
};

struct dyn {
	int64_t tag;
	uint64_t value;
};

struct sym {
	uint32_t name;
	uint8_t info;
	uint8_t other;
	uint16_t section;
	uint64_t value;
	uint64_t size;
};

// The loader's list of objects, in the order of their look-up (<link.h>).
struct object {
	uint64_t base;
	const char *name;
	const struct dyn *dynamic;
	const struct object *next, *previous;
};

struct debug {
	int version;
	const struct object *objects;
};

// The list's head, by the name each loader gives it: glibc and musl.
extern struct debug _r_debug WEAK;
extern struct debug *_dl_debug_addr WEAK;

// The shim's own dynamic section.
extern const struct dyn _DYNAMIC[] HIDDEN;

// What is looked for.
struct wanted {
	const char *symbol;
	int type;
};

struct tables {
	const struct object *object;
	const struct sym *symbols;
	const char *strings;
	const uint32_t *gnu_hash;
	const uint32_t *hash;
	const uint16_t *versions;
};

static const struct object *objects(void)
{
	if (&_r_debug != NULL)
		return _r_debug.objects;
	if (&_dl_debug_addr != NULL && _dl_debug_addr != NULL)
		return _dl_debug_addr->objects;
	return NULL;
}

// address returns where a pointer of a dynamic section points: glibc has
// relocated it in place, musl has not, and an offset is less than any base.
static const void *address(const struct object *o, uint64_t value)
{
	return (const void *)(value < o->base ? value + o->base : value);
}

static struct tables tables_of(const struct object *o)
{
	struct tables t = {.object = o};

	for (const struct dyn *d = o->dynamic; d != NULL && d->tag != DT_NULL; d++) {
		switch (d->tag) {
		case DT_SYMTAB:
			t.symbols = address(o, d->value);
			break;
		case DT_STRTAB:
			t.strings = address(o, d->value);
			break;
		case DT_GNU_HASH:
			t.gnu_hash = address(o, d->value);
			break;
		case DT_HASH:
			t.hash = address(o, d->value);
			break;
		case DT_VERSYM:
			t.versions = address(o, d->value);
			break;
		}
	}
	return t;
}

bool same_string(const char *a, const char *b)
{
	while (*a == *b && *a != '\0') {
		a++;
		b++;
	}
	return *a == *b;
}

// definition returns the address of symbol i if it is what is wanted, defined
// here, in its default version.
static void *definition(const struct tables *t, uint32_t i, const struct wanted *w)
{
	const struct sym *s = &t->symbols[i];
	int bind = s->info >> 4;

	if ((s->info & 0xf) != w->type || s->section == SHN_UNDEF || (bind != STB_GLOBAL && bind != STB_WEAK))
		return NULL;
	if (t->versions != NULL && (t->versions[i] & VERSYM_HIDDEN) != 0)
		return NULL;
	return same_string(t->strings + s->name, w->symbol) ? (void *)(t->object->base + s->value) : NULL;
}

static void *find_by_gnu_hash(const struct tables *t, const struct wanted *w)
{
	uint32_t buckets = t->gnu_hash[0], first = t->gnu_hash[1], bloom_words = t->gnu_hash[2];
	const uint32_t *bucket = t->gnu_hash + 4 + 2 * bloom_words;
	const uint32_t *chain = bucket + buckets;
	uint32_t h = 5381;

	if (buckets == 0)
		return NULL;
	for (const char *c = w->symbol; *c != '\0'; c++)
		h = h * 33 + (uint8_t)*c;
	uint32_t i = bucket[h % buckets];
	if (i < first)
		return NULL;
	for (;; i++) {
		uint32_t entry = chain[i - first];
		void *at = (entry | 1) == (h | 1) ? definition(t, i, w) : NULL;
		if (at != NULL || (entry & 1) != 0)
			return at;
	}
}

static void *find_by_hash(const struct tables *t, const struct wanted *w)
{
	uint32_t buckets = t->hash[0];
	const uint32_t *bucket = t->hash + 2;
	const uint32_t *chain = bucket + buckets;
	uint32_t h = 0;

	if (buckets == 0)
		return NULL;
	for (const char *c = w->symbol; *c != '\0'; c++) {
		h = (h << 4) + (uint8_t)*c;
		h = (h ^ (h >> 24 & 0xf0)) & 0x0fffffff;
	}
	for (uint32_t i = bucket[h % buckets]; i != 0; i = chain[i]) {
		void *at = definition(t, i, w);
		if (at != NULL)
			return at;
	}
	return NULL;
}

static void *find_in(const struct object *o, const struct wanted *w)
{
	struct tables t = tables_of(o);

	if (t.symbols == NULL || t.strings == NULL)
		return NULL;
	if (t.gnu_hash != NULL)
		return find_by_gnu_hash(&t, w);
	return t.hash == NULL ? NULL : find_by_hash(&t, w);
}

static void *find_next(struct wanted w)
{
	const struct object *o = objects();

	while (o != NULL && o->dynamic != _DYNAMIC)
		o = o->next;
	for (o = o == NULL ? NULL : o->next; o != NULL; o = o->next) {
		void *at = find_in(o, &w);
		if (at != NULL)
			return at;
	}
	return NULL;
}

void *next_definition(const char *symbol)
{
	return find_next((struct wanted){symbol, STT_FUNC});
}

void *next_data(const char *symbol)
{
	return find_next((struct wanted){symbol, STT_OBJECT});
}
