// System calls without a libc. Each returns what the kernel returns: a
// result, or -errno.
#ifndef TRUESIZE_SYSCALL_H
#define TRUESIZE_SYSCALL_H

#include "types.h"

#if defined(__x86_64__)

enum {
	SYS_sched_getaffinity = 204,
};

static inline long syscall3(long n, long a, long b, long c)
{
	long ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return ret;
}

#elif defined(__aarch64__)

enum {
	SYS_sched_getaffinity = 123,
};

static inline long syscall3(long n, long a, long b, long c)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory", "cc");
	return x0;
}

#else
#error "the shim is for amd64 and arm64"
#endif

#endif
