// A function's next definition: what dlsym(RTLD_NEXT) finds, without dlsym,
// which before glibc 2.34 is in a library of its own.
#ifndef TRUESIZE_ELF_H
#define TRUESIZE_ELF_H

#include "types.h"

// next_definition returns the first function of that name in an object loaded
// after the shim, in its default version, or NULL. It takes no lock: objects
// of the program's start, the libc among them, stay where they are.
HIDDEN void *next_definition(const char *symbol);

// next_data is next_definition for a variable.
HIDDEN void *next_data(const char *symbol);

HIDDEN bool same_string(const char *a, const char *b);

// NEXT gives the next definition of symbol as a pointer to type, NULL without
// one. What was found is kept.
#define NEXT(type, symbol)                                                          \
	({                                                                          \
		static type *kept_;                                                 \
		type *next_ = __atomic_load_n(&kept_, __ATOMIC_RELAXED);            \
		if (next_ == NULL) {                                                \
			next_ = (type *)next_definition(symbol);                    \
			__atomic_store_n(&kept_, next_, __ATOMIC_RELAXED);          \
		}                                                                   \
		next_;                                                              \
	})

#endif
