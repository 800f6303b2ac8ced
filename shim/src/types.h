// The few types the shim needs. No header of a libc is included: the same
// object serves glibc and musl, whose headers differ.
#ifndef TRUESIZE_TYPES_H
#define TRUESIZE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__LP64__)
#error "the shim is for 64-bit Linux"
#endif

#define HIDDEN __attribute__((visibility("hidden")))
#define EXPORT __attribute__((visibility("default")))
#define WEAK __attribute__((weak))

#endif
