#include "mask.h"

// count_word adds up bits in parallel: __builtin_popcountll would be a call
// of libgcc where the instruction set has none.
static int count_word(uint64_t w)
{
	w -= w >> 1 & UINT64_C(0x5555555555555555);
	w = (w & UINT64_C(0x3333333333333333)) + (w >> 2 & UINT64_C(0x3333333333333333));
	w = (w + (w >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (int)(w * UINT64_C(0x0101010101010101) >> 56);
}

int mask_count(const mask_word *mask, size_t words)
{
	int n = 0;

	for (size_t i = 0; i < words; i++)
		n += count_word(mask[i]);
	return n;
}

void mask_keep(mask_word *mask, size_t words, int n, uint32_t first)
{
	int count = mask_count(mask, words);

	if (count <= n)
		return;
	// The CPU at position p is kept when it is among the n after from, going
	// round: its distance from from, modulo count, is below n.
	int from = (int)(first % (uint32_t)count);
	int position = 0;
	for (size_t i = 0; i < words; i++) {
		uint64_t kept = 0;
		for (uint64_t w = mask[i]; w != 0; w &= w - 1, position++) {
			int distance = position >= from ? position - from : position - from + count;
			if (distance < n)
				kept |= w & -w;
		}
		mask[i] = kept;
	}
}

void mask_extend(mask_word *mask, size_t words, int n)
{
	int missing = n - mask_count(mask, words);

	for (size_t i = 0; i < words; i++) {
		for (uint64_t w = ~mask[i]; w != 0 && missing > 0; w &= w - 1, missing--)
			mask[i] |= w & -w;
	}
}

bool mask_below(const mask_word *mask, size_t words, int n)
{
	for (size_t i = 0; i < words && n > 0; i++, n -= 64) {
		uint64_t low = n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
		if ((mask[i] & low) != 0)
			return true;
	}
	return false;
}
