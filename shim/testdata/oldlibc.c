// What a program of CentOS 7's time was linked with: glibc 2.17's names and
// versions, for the linker alone.
#define STUB(symbol) void symbol(void) {}

#ifdef LIBPTHREAD
STUB(pthread_self)
STUB(pthread_getaffinity_np)
#else
STUB(__libc_start_main)
STUB(printf)
STUB(sysconf)
STUB(get_nprocs)
STUB(sysinfo)
STUB(getloadavg)
STUB(sched_getaffinity)
STUB(__sched_cpucount)
#endif
