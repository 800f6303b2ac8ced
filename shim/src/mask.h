// CPU masks: arrays of 64-bit words, CPU c is bit c % 64 of word c / 64.
#ifndef TRUESIZE_MASK_H
#define TRUESIZE_MASK_H

#include "types.h"

// A program may keep its mask in an array of any type and alignment.
typedef uint64_t __attribute__((may_alias, aligned(1))) mask_word;

// mask_count returns how many CPUs are in a mask of that many words.
HIDDEN int mask_count(const mask_word *mask, size_t words);

// mask_keep leaves n of a mask's CPUs, if it has more: those from the one at
// position first % count on, and from the lowest again.
HIDDEN void mask_keep(mask_word *mask, size_t words, int n, uint32_t first);

// mask_extend adds the lowest CPUs that are not in a mask until it has n, or
// is full.
HIDDEN void mask_extend(mask_word *mask, size_t words, int n);

// mask_below tells whether a mask has a CPU whose number is below n.
HIDDEN bool mask_below(const mask_word *mask, size_t words, int n);

#endif
